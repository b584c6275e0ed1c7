import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * Size of the young generation of a gateway, in bytes: two halves of 4 MB. V8 lets it grow to 32 MB under any load, and a gateway has
 * no use for them, because its objects live as long as a call. In alternating rounds with 32 and 256 connections, a call took as much
 * processor time as with 16 MB, and the process 10 MB less memory. With 4 MB, a call takes 25 % more with 256 connections: the objects
 * of these calls survive two collections, and V8 moves them to the old generation.
 */
const SIZE_BYTES = 8 * 1024 * 1024;

/**
 * Growth of the old generation between two full collections, in percent of what the last one left. V8 counts bodies, which are outside
 * of its heap, as growth too. After a pause without load, V8 chooses a smaller growth, and makes 20 full collections a second under
 * large bodies. In bursts of 2 s after such pauses, a call with 300 kB of bodies took 590 to 1,000 µs of processor time. With 300 %, it
 * took 310 to 630 µs. The heap of 10 MB must be able to grow by more than 32 MB: after as many bytes of bodies, V8 collects the young
 * objects, and the bodies with them. With 275 % there is a full collection before that, and a call takes 38 % more time. 400 and 600 % save
 * 10 % more, but the process grows to 125 and 135 MB instead of 115 MB.
 */
const OLD_GROWTH_PERCENT = 300;

/** Number of calls after which the size is checked, which takes 10 µs. */
const CHECK_INTERVAL_CALLS = 256;

/** Number of objects that are created in a step, and maximum number of steps. 30 steps, about 15 ms, are usual. */
const OBJECTS_PER_STEP = 10_000;
const MAX_STEPS = 500;

/** Sets the growth of the old generation of this process, unless the command line of Node.js does. */
export function setOldGrowth(nodeOptions: readonly string[]): void {
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

  /** Lets it grow to its size, and not further. */
  constructor(nodeOptions: readonly string[]) {
    this.#isControlled = !nodeOptions.some((option) => /semi[-_]space/.test(option));
    if (!this.#isControlled) return;
    setGrowthFactor(1);
    grow();
  }

  /** Records the end of a call. Lets the young generation grow again if V8 has reduced it. */
  recordCall(): void {
    if (this.#isControlled && ++this.#calls % CHECK_INTERVAL_CALLS === 0) grow();
  }
}

function grow(): void {
  if (getSizeBytes() >= SIZE_BYTES) return;
  setGrowthFactor(2);
  // It grows when enough objects survive a collection.
  let survivors: object[] = [];
  for (let step = 0; step < MAX_STEPS && getSizeBytes() < SIZE_BYTES; step++) {
    survivors = [];
    for (let index = 0; index < OBJECTS_PER_STEP; index++) survivors.push({ index });
  }
  setGrowthFactor(1);
}

function setGrowthFactor(factor: number): void {
  setFlagsFromString(`--semi-space-growth-factor=${factor}`);
}

function getSizeBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? SIZE_BYTES;
}
