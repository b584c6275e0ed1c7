import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Runs a full garbage collection. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** Returns the size of the heap after as many garbage collections as free something. One is not enough in every Node.js. */
export function measureHeap(): number {
  let bytes = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 10; round++) {
    collectGarbage();
    const { heapUsed } = process.memoryUsage();
    if (heapUsed > bytes - MAX_NOISE_BYTES) return Math.min(heapUsed, bytes);
    bytes = heapUsed;
  }
  return bytes;
}

/** Difference between two measurements of an unchanged heap, in bytes. */
const MAX_NOISE_BYTES = 64 * 1024;

/** Returns the number of heap bytes that the made value retains. */
export function measureRetainedBytes(make: () => unknown): number {
  const before = measureHeap();
  const kept = make();
  const bytes = measureHeap() - before;
  // Uses the value once more, so that it isn't collected before the measurement.
  return kept === undefined ? 0 : bytes;
}
