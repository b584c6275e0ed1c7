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
  #backs: number[] = [];

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
    const { memberships } = this.#entry(slot);
    const place = this.#append(slot, memberships.length);
    memberships.push(this, place);
  }

  /** Adds an entry that is in no set to these. Allocates its memberships at their exact size: they are most of its memory. */
  static addToAll(slot: number, entry: Entry, sets: readonly MatchSet[]): void {
    const memberships = new Array<MatchSet | number>(2 * sets.length);
    for (let at = 0; at < sets.length; at++) {
      const set = sets[at] as MatchSet;
      memberships[2 * at] = set;
      memberships[2 * at + 1] = set.#append(slot, 2 * at);
    }
    entry.memberships = memberships;
  }

  /** Removes an entry from all its sets. In each, the last slot moves into the gap. */
  static removeFromAll(entry: Entry): void {
    const { memberships } = entry;
    for (let at = 0; at < memberships.length; at += 2) {
      (memberships[at] as MatchSet).#removeAt(memberships[at + 1] as number);
    }
    entry.memberships = [];
  }

  /** Removes all entries. */
  clear(): void {
    for (const [place, slot] of this.#slots.entries()) {
      const { memberships } = this.#entry(slot);
      const back = this.#backs[place] as number;
      // The last of the entry's sets moves into the gap that this set leaves, and must know its new position.
      const movedPlace = memberships.pop() as number;
      const moved = memberships.pop() as MatchSet;
      moved.#backs[movedPlace] = back;
      if (back === memberships.length) continue;
      memberships[back] = moved;
      memberships[back + 1] = movedPlace;
    }
    this.#group.members -= this.#slots.length;
    this.#slots.length = 0;
    this.#backs.length = 0;
  }

  /** Chooses a slot that is not excluded, each equally likely. The excluded must be few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    if (excluded.length === 0) return this.#slots[Math.floor(random.fraction() * this.#slots.length)];
    const holes = excluded.flatMap((slot) => this.#findPlace(slot) ?? []).sort((a, b) => a - b);
    const left = this.#slots.length - holes.length;
    if (left === 0) return undefined;
    let place = Math.floor(random.fraction() * left);
    for (const hole of holes) if (hole <= place) place++;
    return this.#slots[place];
  }

  /** Appends a slot and returns its position. */
  #append(slot: number, back: number): number {
    const place = this.#slots.length;
    // An array that grows reserves space. Most sets belong to a pair that only one replica has, and need none.
    if (place === 0) [this.#slots, this.#backs] = [[slot], [back]];
    else {
      this.#slots.push(slot);
      this.#backs.push(back);
    }
    this.#group.members++;
    return place;
  }

  #findPlace(slot: number): number | undefined {
    const { memberships } = this.#entry(slot);
    const back = memberships.indexOf(this);
    return back < 0 ? undefined : (memberships[back + 1] as number);
  }

  #entry(slot: number): Entry {
    return this.#group.table[slot] as Entry;
  }

  #removeAt(place: number): void {
    this.#group.members--;
    const last = this.#slots.pop() as number;
    const lastBack = this.#backs.pop() as number;
    if (place === this.#slots.length) return;
    this.#slots[place] = last;
    this.#backs[place] = lastBack;
    this.#entry(last).memberships[lastBack + 1] = place;
  }
}
