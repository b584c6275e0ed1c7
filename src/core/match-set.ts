import type { Random } from './ports.js';
import type { Registration } from './replica.js';

/** A registration in an index, and where it stands in each of the match sets that hold it. */
export interface Entry {
  registration: Registration;
  /** The interned pairs of each of its capability objects, ascending. */
  readonly objects: readonly (readonly number[])[];
  /** Its number in bitmaps. */
  readonly slot: number;
  sets: MatchSet[];
  /** Its place in each of these sets, in the same order. */
  places: number[];
}

/** Registrations that match one query. Joining, leaving and choosing take the same time however many there are. */
export class MatchSet {
  readonly #entries: Entry[] = [];
  /** For each entry, the place of this set among the sets of the entry. */
  readonly #backs: number[] = [];

  get size(): number {
    return this.#entries.length;
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  add(entry: Entry): void {
    this.#backs.push(entry.sets.length);
    entry.places.push(this.#entries.length);
    entry.sets.push(this);
    this.#entries.push(entry);
  }

  /** Puts an entry that is in no set into these. Its lists are as long as they need to be: they are most of its memory. */
  static addToAll(entry: Entry, sets: readonly MatchSet[]): void {
    entry.sets = sets.slice();
    entry.places = sets.map((set) => set.#entries.length);
    for (const [back, set] of sets.entries()) {
      set.#entries.push(entry);
      set.#backs.push(back);
    }
  }

  /** Takes an entry out of all its sets: in each, the last one takes its place. */
  static removeFromAll(entry: Entry): void {
    for (let at = 0; at < entry.sets.length; at++) (entry.sets[at] as MatchSet).#fill(entry.places[at] as number);
    entry.sets.length = 0;
    entry.places.length = 0;
  }

  /** Takes all entries out. */
  clear(): void {
    for (const [place, entry] of this.#entries.entries()) {
      const back = this.#backs[place] as number;
      const last = entry.sets.length - 1;
      // The last of the entry's sets takes this one's place, and is told.
      const moved = entry.sets[last] as MatchSet;
      const movedPlace = entry.places[last] as number;
      entry.sets[back] = moved;
      entry.places[back] = movedPlace;
      moved.#backs[movedPlace] = back;
      entry.sets.length = last;
      entry.places.length = last;
    }
    this.#entries.length = 0;
    this.#backs.length = 0;
  }

  /** One of those that are not excluded, each as likely as the others. The excluded are few. */
  choose(excluded: readonly Entry[], random: Random): Entry | undefined {
    if (excluded.length === 0) return this.#entries[Math.floor(random.fraction() * this.#entries.length)];
    const holes = excluded.flatMap((entry) => entry.places[entry.sets.indexOf(this)] ?? []).sort((a, b) => a - b);
    const left = this.#entries.length - holes.length;
    if (left === 0) return undefined;
    let place = Math.floor(random.fraction() * left);
    for (const hole of holes) if (hole <= place) place++;
    return this.#entries[place];
  }

  #fill(place: number): void {
    const last = this.#entries.pop() as Entry;
    const lastBack = this.#backs.pop() as number;
    if (place === this.#entries.length) return;
    this.#entries[place] = last;
    this.#backs[place] = lastBack;
    last.places[lastBack] = place;
  }
}
