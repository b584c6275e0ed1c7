import type { Random } from './ports.js';

/** What an index knows of one registration. */
export interface Entry {
  /** The interned pairs of each of its capability objects, ascending. */
  readonly objects: readonly (readonly number[])[];
  /** The match sets that hold it, each with its place there behind it: one list, as a second would be as large again. */
  memberships: (MatchSet | number)[];
}

/** The entries of an index by their slots; a slot that is free has none. */
export type EntryTable = readonly (Entry | undefined)[];

/** What some match sets have in common. */
export class MatchSetGroup {
  readonly table: EntryTable;
  /** How many members its sets have, all together. */
  members = 0;

  constructor(table: EntryTable) {
    this.table = table;
  }
}

/**
 * Registrations that match one query, by their slots: a choice has nothing to do with the entries, which are in no cache
 * when there are many. Joining, leaving and choosing take the same time however many there are.
 */
export class MatchSet {
  readonly #group: MatchSetGroup;
  #slots: number[] = [];
  /** For each of them, where this set stands among the memberships of the entry. */
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

  /** Puts an entry that is in no set into these. Its list is as long as it needs to be: it is most of its memory. */
  static addToAll(slot: number, entry: Entry, sets: readonly MatchSet[]): void {
    const memberships = new Array<MatchSet | number>(2 * sets.length);
    for (let at = 0; at < sets.length; at++) {
      const set = sets[at] as MatchSet;
      memberships[2 * at] = set;
      memberships[2 * at + 1] = set.#append(slot, 2 * at);
    }
    entry.memberships = memberships;
  }

  /** Takes an entry out of all its sets: in each, the last one takes its place. */
  static removeFromAll(entry: Entry): void {
    const { memberships } = entry;
    for (let at = 0; at < memberships.length; at += 2) {
      (memberships[at] as MatchSet).#fill(memberships[at + 1] as number);
    }
    entry.memberships = [];
  }

  /** Takes all entries out. */
  clear(): void {
    for (const [place, slot] of this.#slots.entries()) {
      const { memberships } = this.#entry(slot);
      const back = this.#backs[place] as number;
      // The last of the entry's sets takes this one's place, and is told.
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

  /** The slot of one that is not excluded, each as likely as the others. The excluded are few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    if (excluded.length === 0) return this.#slots[Math.floor(random.fraction() * this.#slots.length)];
    const holes = excluded.flatMap((slot) => this.#placeOf(slot) ?? []).sort((a, b) => a - b);
    const left = this.#slots.length - holes.length;
    if (left === 0) return undefined;
    let place = Math.floor(random.fraction() * left);
    for (const hole of holes) if (hole <= place) place++;
    return this.#slots[place];
  }

  /** Puts a slot at the end; where that is. */
  #append(slot: number, back: number): number {
    const place = this.#slots.length;
    // A list that grows has room for many more; most sets are of a pair that one replica has, and need none.
    if (place === 0) [this.#slots, this.#backs] = [[slot], [back]];
    else {
      this.#slots.push(slot);
      this.#backs.push(back);
    }
    this.#group.members++;
    return place;
  }

  #placeOf(slot: number): number | undefined {
    const { memberships } = this.#entry(slot);
    const back = memberships.indexOf(this);
    return back < 0 ? undefined : (memberships[back + 1] as number);
  }

  #entry(slot: number): Entry {
    return this.#group.table[slot] as Entry;
  }

  #fill(place: number): void {
    this.#group.members--;
    const last = this.#slots.pop() as number;
    const lastBack = this.#backs.pop() as number;
    if (place === this.#slots.length) return;
    this.#slots[place] = last;
    this.#backs[place] = lastBack;
    this.#entry(last).memberships[lastBack + 1] = place;
  }
}
