/** Memory of a process, in bytes. */
export interface Memory {
  /** Heap and the external memory that it holds, after a garbage collection. */
  readonly heap: number;
  readonly resident: number;
}

/** Answers to questions about the memory and the processor time of this process. Run it with `--expose-gc`. */
export const OWN_USAGE = {
  memory(): Memory {
    for (let again = 0; again < 3; again++) global.gc?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { heap: heapUsed + external, resident: rss };
  },
  /** Returns the CPU time that this process has used, in ms. */
  cpuMs(): number {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
};
