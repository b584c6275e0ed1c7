/**
 * Load that a replica reports. Source of the names: the model server protocol of the Gateway API Inference Extension, which
 * asks for the running requests and for the requests that wait in a queue.
 */
export interface ReplicaLoad {
  /** Number of calls that run. */
  readonly running: number;
  /** Number of calls that wait until others have finished. */
  readonly waiting: number;
  /** Maximum number of calls that run at once. Undefined if it isn't known. */
  readonly limit?: number | undefined;
}

/** Maximum of each number of a load. */
export const MAX_LOAD = 1_000_000_000;

/** Returns whether a value can be a number of a load. */
export function isLoadNumber(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_LOAD;
}

/** Copies the load from an object of any origin. Returns undefined unless its numbers are integers from 0 to {@link MAX_LOAD}. */
export function toLoad(value: unknown): ReplicaLoad | undefined {
  const { running, waiting, limit } = (value ?? {}) as Readonly<Partial<Record<keyof ReplicaLoad, unknown>>>;
  if (!isLoadNumber(running) || !isLoadNumber(waiting)) return undefined;
  return { running, waiting, limit: isLoadNumber(limit) ? limit : undefined };
}

/** Returns whether two loads have the same numbers. */
export function isSameLoad(a: ReplicaLoad | undefined, b: ReplicaLoad | undefined): boolean {
  return a?.running === b?.running && a?.waiting === b?.waiting && a?.limit === b?.limit;
}
