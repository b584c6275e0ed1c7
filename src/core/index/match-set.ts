import type { Random } from '../ports.js';

/** The index entry of one registration. */
export interface Entry {
  /** The interned pairs of each of its capability objects, ascending. */
  readonly objects: readonly (readonly number[])[];
  /** The match sets that hold the entry, each followed by the entry's position in it. One flat array takes half the memory of two. */
  memberships: (MatchSet | number)[];
}

/** The entries of an index by slot. A free slot has none. */
export type EntryTable = readonly (Entry | undefined)[];

/** State that several match sets share. */
export class MatchSetGroup {
  readonly table: EntryTable;
  /** Total number of members of its sets. */
  members = 0;

  constructor(table: EntryTable) {
    this.table = table;
  }
}

/**
 * The slots of the registrations that match one query. A choice reads slots only, not entries: with many replicas each entry
 * is a cache miss. Adding, removing and choosing take O(1).
 */
export class MatchSet {
  readonly #group: MatchSetGroup;
  #slots: number[] = [];
  /** For each slot, the position of this set in the memberships of the entry. */
  #offsets: number[] = [];

  constructor(group: MatchSetGroup) {
    this.#group = group;
  }

  get size(): number {
    return this.#slots.length;
  }

  get slots(): readonly number[] {
    return this.#slots;
  }

  add(slot: number): void {
    const { memberships } = this.#getEntry(slot);
    const position = this.#append(slot, memberships.length);
    memberships.push(this, position);
  }

  /** Adds an entry that is in no set to these. Allocates its memberships at their exact size: they are most of its memory. */
  static addToAll(slot: number, entry: Entry, sets: readonly MatchSet[]): void {
    const memberships = new Array<MatchSet | number>(2 * sets.length);
    for (let index = 0; index < sets.length; index++) {
      const set = sets[index] as MatchSet;
      memberships[2 * index] = set;
      memberships[2 * index + 1] = set.#append(slot, 2 * index);
    }
    entry.memberships = memberships;
  }

  /** Removes an entry from all its sets. In each, the last slot moves into the gap. */
  static removeFromAll(entry: Entry): void {
    const { memberships } = entry;
    for (let index = 0; index < memberships.length; index += 2) {
      (memberships[index] as MatchSet).#removeAt(memberships[index + 1] as number);
    }
    entry.memberships = [];
  }

  /** Removes all entries. */
  clear(): void {
    for (const [position, slot] of this.#slots.entries()) {
      const { memberships } = this.#getEntry(slot);
      const offset = this.#offsets[position] as number;
      // The last of the entry's sets moves into the gap that this set leaves, and must know its new position.
      const movedPosition = memberships.pop() as number;
      const moved = memberships.pop() as MatchSet;
      moved.#offsets[movedPosition] = offset;
      if (offset === memberships.length) continue;
      memberships[offset] = moved;
      memberships[offset + 1] = movedPosition;
    }
    this.#group.members -= this.#slots.length;
    this.#slots.length = 0;
    this.#offsets.length = 0;
  }

  /** Chooses a slot that is not excluded, each equally likely. The excluded must be few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    if (excluded.length === 0) return this.#slots[Math.floor(random.fraction() * this.#slots.length)];
    const holes = excluded.flatMap((slot) => this.#findPosition(slot) ?? []).sort((a, b) => a - b);
    const remaining = this.#slots.length - holes.length;
    if (remaining === 0) return undefined;
    let position = Math.floor(random.fraction() * remaining);
    for (const hole of holes) if (hole <= position) position++;
    return this.#slots[position];
  }

  /** Appends a slot and returns its position. */
  #append(slot: number, offset: number): number {
    const position = this.#slots.length;
    // An array that grows reserves space. Most sets belong to a pair that only one replica has, and need none.
    if (position === 0) [this.#slots, this.#offsets] = [[slot], [offset]];
    else {
      this.#slots.push(slot);
      this.#offsets.push(offset);
    }
    this.#group.members++;
    return position;
  }

  #findPosition(slot: number): number | undefined {
    const { memberships } = this.#getEntry(slot);
    const offset = memberships.indexOf(this);
    return offset < 0 ? undefined : (memberships[offset + 1] as number);
  }

  #getEntry(slot: number): Entry {
    return this.#group.table[slot] as Entry;
  }

  #removeAt(position: number): void {
    this.#group.members--;
    const last = this.#slots.pop() as number;
    const lastOffset = this.#offsets.pop() as number;
    if (position === this.#slots.length) return;
    this.#slots[position] = last;
    this.#offsets[position] = lastOffset;
    this.#getEntry(last).memberships[lastOffset + 1] = position;
  }
}
