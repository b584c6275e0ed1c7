import type { Random } from './ports.js';

/** What an index knows of one registration. */
export interface Entry {
  /** The interned pairs of each of its capability objects, ascending. */
  readonly objects: readonly (readonly number[])[];
  /** The match sets that hold it, each with its place there behind it: one list, as a second would be as large again. */
  memberships: (MatchSet | number)[];
}

/** The entries of an index by their numbers; a number that is free has none. */
export type EntryTable = readonly (Entry | undefined)[];

/**
 * Registrations that match one query, by their numbers: a choice has nothing to do with the entries, which are in no cache
 * when there are many. Joining, leaving and choosing take the same time however many there are.
 */
export class MatchSet {
  readonly #table: EntryTable;
  #numbers: number[] = [];
  /** For each of them, where this set stands among the memberships of the entry. */
  #backs: number[] = [];

  constructor(table: EntryTable) {
    this.#table = table;
  }

  get size(): number {
    return this.#numbers.length;
  }

  get numbers(): readonly number[] {
    return this.#numbers;
  }

  add(number: number): void {
    const { memberships } = this.#entry(number);
    const place = this.#append(number, memberships.length);
    memberships.push(this, place);
  }

  /** Puts an entry that is in no set into these. Its list is as long as it needs to be: it is most of its memory. */
  static addToAll(number: number, entry: Entry, sets: readonly MatchSet[]): void {
    const memberships = new Array<MatchSet | number>(2 * sets.length);
    for (const [at, set] of sets.entries()) {
      memberships[2 * at] = set;
      memberships[2 * at + 1] = set.#append(number, 2 * at);
    }
    entry.memberships = memberships;
  }

  /** Takes an entry out of all its sets: in each, the last one takes its place. */
  static removeFromAll({ memberships }: Entry): void {
    for (let at = 0; at < memberships.length; at += 2) {
      (memberships[at] as MatchSet).#fill(memberships[at + 1] as number);
    }
    memberships.length = 0;
  }

  /** Takes all entries out. */
  clear(): void {
    for (const [place, number] of this.#numbers.entries()) {
      const { memberships } = this.#entry(number);
      const back = this.#backs[place] as number;
      // The last of the entry's sets takes this one's place, and is told.
      const movedPlace = memberships.pop() as number;
      const moved = memberships.pop() as MatchSet;
      moved.#backs[movedPlace] = back;
      if (back === memberships.length) continue;
      memberships[back] = moved;
      memberships[back + 1] = movedPlace;
    }
    this.#numbers.length = 0;
    this.#backs.length = 0;
  }

  /** The number of one that is not excluded, each as likely as the others. The excluded are few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    if (excluded.length === 0) return this.#numbers[Math.floor(random.fraction() * this.#numbers.length)];
    const holes = excluded.flatMap((number) => this.#placeOf(number) ?? []).sort((a, b) => a - b);
    const left = this.#numbers.length - holes.length;
    if (left === 0) return undefined;
    let place = Math.floor(random.fraction() * left);
    for (const hole of holes) if (hole <= place) place++;
    return this.#numbers[place];
  }

  /** Puts a number at the end; where that is. */
  #append(number: number, back: number): number {
    const place = this.#numbers.length;
    // A list that grows has room for many more, and a set of a pair that one replica has needs none.
    if (place === 0) [this.#numbers, this.#backs] = [[number], [back]];
    else {
      this.#numbers.push(number);
      this.#backs.push(back);
    }
    return place;
  }

  #placeOf(number: number): number | undefined {
    const { memberships } = this.#entry(number);
    const back = memberships.indexOf(this);
    return back < 0 ? undefined : (memberships[back + 1] as number);
  }

  #entry(number: number): Entry {
    return this.#table[number] as Entry;
  }

  #fill(place: number): void {
    const last = this.#numbers.pop() as number;
    const lastBack = this.#backs.pop() as number;
    if (place === this.#numbers.length) return;
    this.#numbers[place] = last;
    this.#backs[place] = lastBack;
    this.#entry(last).memberships[lastBack + 1] = place;
  }
}
