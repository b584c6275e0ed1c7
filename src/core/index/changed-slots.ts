/** Number of changes that are remembered. A result that is further behind is found again. */
const MAX_REMEMBERED = 65_536;

/**
 * The slots of an index whose registration changed, in order. A cached result reads the changes after its position when it
 * is used, so a change costs the same for any number of results.
 */
export class ChangedSlots {
  readonly #maxRemembered: number;
  /** The last changes, as a ring. Undefined until a result needs them. */
  #slots: Uint32Array | undefined;
  #position = 0;
  /** Position of the first change that is remembered, unless others replaced it. */
  #startsAt = 0;

  constructor(maxRemembered = MAX_REMEMBERED) {
    this.#maxRemembered = maxRemembered;
  }

  /** Number of changes so far. */
  get position(): number {
    return this.#position;
  }

  /** Starts to remember changes, and returns the current position. */
  remember(): number {
    if (!this.#slots) {
      this.#slots = new Uint32Array(this.#maxRemembered);
      this.#startsAt = this.#position;
    }
    return this.#position;
  }

  /** Records a change. */
  record(slot: number): void {
    if (this.#slots) this.#slots[this.#position % this.#maxRemembered] = slot;
    this.#position++;
  }

  /** Returns whether all changes from a position on are remembered. */
  hasAllFrom(position: number): boolean {
    return position >= this.#startsAt && this.#position - position <= this.#maxRemembered;
  }

  /** Returns the slot of a change that is remembered. */
  getSlot(position: number): number {
    return this.#slots?.[position % this.#maxRemembered] as number;
  }
}
