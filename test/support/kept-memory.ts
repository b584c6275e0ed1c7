import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Takes away at once what nothing keeps. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** How many bytes of the heap something keeps for as long as it is kept itself. */
export function keptBytes(make: () => unknown): number {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const kept = make();
  collectGarbage();
  const bytes = process.memoryUsage().heapUsed - before;
  // It is used once more, so that it is there until here.
  return kept === undefined ? 0 : bytes;
}
