/** Maximum size of all lists that their readers have yet to take, in bytes. A list of 100,000 replicas has 15 to 26 MB. */
const MAX_BYTES = 512 * 1024 * 1024;

/**
 * The memory of lists from when they are written until they are taken. A reader can ask for many and take nothing. Parts that
 * several lists share count once.
 */
export class ListMemory {
  /** By the memory of a part, the number of lists that have it. */
  readonly #holders = new Map<ArrayBufferLike, number>();
  readonly #maxBytes: number;
  #bytes = 0;
  #lists = 0;

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Begins a list, which has to be released. */
  list(): HeldList {
    this.#lists++;
    return new HeldList(this);
  }

  /** Holds a part for one list more; for {@link HeldList} only. Returns false when there is no room. A list alone has room. */
  hold({ buffer }: Buffer): boolean {
    const holders = this.#holders.get(buffer) ?? 0;
    const bytes = holders > 0 ? this.#bytes : this.#bytes + buffer.byteLength;
    if (bytes > this.#maxBytes && this.#lists > 1) return false;
    this.#holders.set(buffer, holders + 1);
    this.#bytes = bytes;
    return true;
  }

  /** Gives up a part of one list. */
  giveUp({ buffer }: Buffer): void {
    const holders = (this.#holders.get(buffer) ?? 0) - 1;
    if (holders > 0) return void this.#holders.set(buffer, holders);
    this.#holders.delete(buffer);
    this.#bytes -= buffer.byteLength;
  }

  /** Ends a list. */
  end(): void {
    this.#lists--;
  }
}

/** The parts of one list that were not taken yet. */
export class HeldList {
  readonly #memory: ListMemory;
  #parts: (Buffer | undefined)[] = [];
  #next = 0;
  #bytes = 0;

  constructor(memory: ListMemory) {
    this.#memory = memory;
  }

  /** Number of parts. */
  get length(): number {
    return this.#parts.length;
  }

  /** Size of all parts together, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a part. Returns false when there is no room. */
  add(part: Buffer): boolean {
    if (!this.#memory.hold(part)) return false;
    this.#bytes += part.length;
    this.#parts.push(part);
    return true;
  }

  /** Returns the next part; the one before it was taken by now, and is given up. */
  take(): Buffer | undefined {
    this.#giveUp(this.#next - 1);
    return this.#parts[this.#next++];
  }

  /** Gives up all that is left. */
  release(): void {
    for (let at = this.#next - 1; at < this.#parts.length; at++) this.#giveUp(at);
    this.#parts = [];
    this.#memory.end();
  }

  #giveUp(at: number): void {
    const part = this.#parts[at];
    if (!part) return;
    this.#memory.giveUp(part);
    this.#parts[at] = undefined;
  }
}
