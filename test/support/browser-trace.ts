/** An event of a trace in Chrome's format. Durations are in µs. */
interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly dur?: number;
  /** Processor time. */
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** The longest tasks of a page's main thread. While a task runs, the page can't draw a frame. */
export interface LongestTask {
  readonly durationMs: number;
  /** Processor time of the task that took most of it. On a busy machine it is much less than the duration. */
  readonly processorMs: number;
}

/** Finds the longest tasks of all pages in a trace. */
export function readLongestTask(trace: Buffer): LongestTask {
  const { traceEvents } = JSON.parse(trace.toString()) as { readonly traceEvents: readonly TraceEvent[] };
  const threads = new Set(
    traceEvents
      .filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain')
      .map(({ pid, tid }) => `${pid} ${tid}`),
  );
  const tasks = traceEvents.filter(({ name, ph, pid, tid }) => {
    return ph === 'X' && /RunTask$/.test(name) && threads.has(`${pid} ${tid}`);
  });
  const timed = tasks.filter(({ tdur }) => tdur !== undefined);
  if (timed.length < 100) throw new Error(`the trace has only ${timed.length} tasks`);
  return {
    durationMs: Math.max(...tasks.map(({ dur = 0 }) => dur)) / 1000,
    processorMs: Math.max(...timed.map(({ tdur = 0 }) => tdur)) / 1000,
  };
}
