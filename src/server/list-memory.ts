/** Maximum size of all lists that aren't sent yet, in bytes. A list of 100,000 replicas has 15 to 26 MB. */
const MAX_LIST_BYTES = 512 * 1024 * 1024;

/**
 * Limits the memory of lists between their serialization and the moment the client has received them. A client can
 * request many lists and read none. Parts that several lists share count once.
 */
export class ListMemory {
  /** Number of lists that hold each part, by the memory of the part. */
  readonly #holderCounts = new Map<ArrayBufferLike, number>();
  readonly #maxBytes: number;
  #bytes = 0;
  #lists = 0;

  constructor(maxBytes = MAX_LIST_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Creates an empty list. The caller must release it. */
  createList(): HeldList {
    this.#lists++;
    return new HeldList(this);
  }

  /** Adds a holder of a part; for {@link HeldList} only. Returns false if the limit is exceeded. A single list is always allowed. */
  holdPart({ buffer }: Buffer): boolean {
    const holders = this.#holderCounts.get(buffer) ?? 0;
    const bytes = holders > 0 ? this.#bytes : this.#bytes + buffer.byteLength;
    if (bytes > this.#maxBytes && this.#lists > 1) return false;
    this.#holderCounts.set(buffer, holders + 1);
    this.#bytes = bytes;
    return true;
  }

  /** Removes a holder of a part; for {@link HeldList} only. */
  releasePart({ buffer }: Buffer): void {
    const holders = (this.#holderCounts.get(buffer) ?? 0) - 1;
    if (holders > 0) return void this.#holderCounts.set(buffer, holders);
    this.#holderCounts.delete(buffer);
    this.#bytes -= buffer.byteLength;
  }

  /** Removes a list; for {@link HeldList} only. */
  removeList(): void {
    this.#lists--;
  }
}

/** The parts of one list that aren't sent yet. */
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

  /** Adds a part. Returns false if the limit of the memory is exceeded. */
  add(part: Buffer): boolean {
    if (!this.#memory.holdPart(part)) return false;
    this.#bytes += part.length;
    this.#parts.push(part);
    return true;
  }

  /** Returns the next part, and gives up the previous one. Undefined at the end. */
  take(): Buffer | undefined {
    this.#releasePart(this.#next - 1);
    return this.#parts[this.#next++];
  }

  /** Gives up all remaining parts. */
  release(): void {
    for (let index = this.#next - 1; index < this.#parts.length; index++) this.#releasePart(index);
    this.#parts = [];
    this.#memory.removeList();
  }

  #releasePart(index: number): void {
    const part = this.#parts[index];
    if (!part) return;
    this.#memory.releasePart(part);
    this.#parts[index] = undefined;
  }
}
