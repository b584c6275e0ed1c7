import type { Random } from '../ports.js';
import type { Registration } from '../replica.js';
import { Bitmap } from './bitmap.js';
import type { ChangedSlots } from './changed-slots.js';
import type { PreparedFilter } from './prepared-filter.js';
import { RankedBitmap } from './ranked-bitmap.js';
import type { SelectorCandidates } from './selector-candidates.js';

/** The registrations of an index by slot. A free slot has none. */
export type RegistrationTable = readonly (Registration | undefined)[];

/** An amount of work that is left in a turn of the event loop. */
export class WorkBudget {
  #units: number;

  constructor(units: number) {
    this.#units = units;
  }

  get isSpent(): boolean {
    return this.#units <= 0;
  }

  /** Compares a registration with a filter. It is one unit of work for each term and object, and can exceed the budget. */
  check(filter: PreparedFilter, registration: Registration | undefined): boolean {
    const objects = registration?.replica.capabilities ?? [];
    this.#units -= 1 + objects.length * (1 + filter.selector.terms.length);
    return filter.matches(objects);
  }
}

const NO_SLOTS = new Bitmap();

/**
 * All matches of a filter, found in small parts and kept up to date. Begins with the slots that can match, and removes those
 * that don't. Then it checks the slots that changed since, again whenever it is used.
 */
export class SelectorResult {
  readonly #filter: PreparedFilter;
  readonly #registrations: RegistrationTable;
  readonly #changes: ChangedSlots;
  readonly #candidates: SelectorCandidates;
  #matches: RankedBitmap;
  /** The slots that are compared with the filter. */
  #toCheck: Bitmap;
  /** The first slot that can still have to be checked, and the next change. */
  #nextSlot = 0;
  #nextChange: number;

  constructor(
    filter: PreparedFilter,
    registrations: RegistrationTable,
    changes: ChangedSlots,
    candidates: SelectorCandidates,
  ) {
    this.#filter = filter;
    this.#registrations = registrations;
    this.#changes = changes;
    this.#candidates = candidates;
    this.#nextChange = changes.remember();
    [this.#matches, this.#toCheck] = this.#findCandidates();
  }

  /** Works on the result within the budget. Returns whether it is complete. */
  update(budget: WorkBudget): boolean {
    if (!this.#changes.hasAllFrom(this.#nextChange)) this.#restart();
    for (let slot = this.#findNext(); slot !== undefined; slot = this.#findNext()) {
      if (budget.isSpent) return false;
      this.#nextSlot = slot + 1;
      if (!budget.check(this.#filter, this.#registrations[slot])) this.#matches.set(slot, false);
    }
    while (this.#nextChange < this.#changes.position) {
      if (budget.isSpent) return false;
      const slot = this.#changes.getSlot(this.#nextChange++);
      this.#matches.set(slot, budget.check(this.#filter, this.#registrations[slot]));
    }
    return true;
  }

  /** Chooses a slot from the complete result that is not excluded, each equally likely. The excluded must be few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    return this.#matches.choose(excluded, random);
  }

  /** Finds the next candidate to be checked. */
  #findNext(): number | undefined {
    const { words } = this.#toCheck;
    for (let index = this.#nextSlot >>> 5; index < words.length; index++) {
      const word = (words[index] as number) & (-1 << (this.#nextSlot & 31));
      if (word !== 0) return index * 32 + 31 - Math.clz32(word & -word);
      this.#nextSlot = (index + 1) * 32;
    }
    this.#toCheck = NO_SLOTS;
    return undefined;
  }

  #restart(): void {
    this.#nextChange = this.#changes.position;
    this.#nextSlot = 0;
    [this.#matches, this.#toCheck] = this.#findCandidates();
  }

  #findCandidates(): [matches: RankedBitmap, toCheck: Bitmap] {
    const { slots, isExact } = this.#candidates.findAll(this.#filter);
    const toCheck = isExact ? this.#candidates.keepThoseToCheck(slots) : slots.clone();
    return [new RankedBitmap(slots), toCheck];
  }
}
