import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Runs a full garbage collection. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** Returns the number of heap bytes that the made value retains. */
export function measureRetainedBytes(make: () => unknown): number {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const kept = make();
  collectGarbage();
  const bytes = process.memoryUsage().heapUsed - before;
  // Uses the value once more, so that it isn't collected before the measurement.
  return kept === undefined ? 0 : bytes;
}
