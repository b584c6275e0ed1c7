import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * Size of the young generation of a gateway, in bytes: two halves of 4 MB. V8 lets it grow to 32 MB under any load, and a gateway has
 * no use for them, because its objects live as long as a call. In alternating rounds with 32 connections, a call took as much
 * processor time, and the process 15 to 25 MB less memory. Halves of 2 MB take 10 % more processor time.
 */
const SIZE_BYTES = 8 * 1024 * 1024;

/**
 * Size with many calls in progress, and how many these are. The objects of 256 calls fill half of a half of 4 MB. They survive two
 * collections, and V8 moves them to the old generation: a third of the processor time of a call.
 */
const LARGE_SIZE_BYTES = 16 * 1024 * 1024;
const MANY_CALLS = 100;

/** Number of calls after which the size is checked, which takes 10 µs. */
const CHECK_INTERVAL_CALLS = 256;

/**
 * Growth of the old generation between two full collections, in percent of what the last one left. V8 lets it grow to four times: a
 * gateway with 12 MB of live objects to 48 MB, most of them of calls that have ended. In alternating rounds with 32 connections and
 * 30, 60, 100, 150, 200 and 300 %, a call took 125, 111, 101, 97, 95 and 94 µs of processor time, and the process 80, 80, 82, 87, 92
 * and 97 MB after them.
 */
const OLD_GROWTH_PERCENT = 100;

/** Number of objects that are created in a step, and maximum number of steps. 30 steps, about 15 ms, are usual. */
const OBJECTS_PER_STEP = 10_000;
const MAX_STEPS = 500;

/** Limits the growth of the old generation of this process, unless the command line of Node.js does. */
export function limitOldGeneration(nodeOptions: readonly string[]): void {
  if (nodeOptions.some((option) => /heap[-_]growing[-_]percent/.test(option))) return;
  setFlagsFromString(`--heap-growing-percent=${OLD_GROWTH_PERCENT}`);
}

/**
 * Controls the size of the young generation of this process. V8 reads its limit only when a process starts, and a second process
 * would take more memory than this saves. It reads the factor of each growth every time, so a factor of 1 keeps the size. V8 still
 * reduces it to 1 MB after half a minute without load. Has no effect if the command line or NODE_OPTIONS sets a size.
 */
export class YoungGeneration {
  readonly #isControlled: boolean;
  #calls = 0;

  /** Lets it grow. */
  constructor(nodeOptions: readonly string[]) {
    this.#isControlled = !nodeOptions.some((option) => /semi[-_]space/.test(option));
    if (!this.#isControlled) return;
    setGrowthFactor(1);
    growTo(SIZE_BYTES);
  }

  /** Records the end of a call. Lets the young generation grow if it is too small for the calls in progress. */
  recordCall(callsInProgress: number): void {
    if (this.#isControlled && ++this.#calls % CHECK_INTERVAL_CALLS === 0)
      growTo(callsInProgress >= MANY_CALLS ? LARGE_SIZE_BYTES : SIZE_BYTES);
  }
}

function growTo(sizeBytes: number): void {
  if (getSizeBytes() >= sizeBytes) return;
  setGrowthFactor(2);
  // It grows when enough objects survive a collection.
  let survivors: object[] = [];
  for (let step = 0; step < MAX_STEPS && getSizeBytes() < sizeBytes; step++) {
    survivors = [];
    for (let index = 0; index < OBJECTS_PER_STEP; index++) survivors.push({ index });
  }
  setGrowthFactor(1);
}

function setGrowthFactor(factor: number): void {
  setFlagsFromString(`--semi-space-growth-factor=${factor}`);
}

function getSizeBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? LARGE_SIZE_BYTES;
}
