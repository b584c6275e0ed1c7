import { GenerationalCache } from '../generational-cache.js';
import type { Random } from '../ports.js';
import type { ChangedSlots } from './changed-slots.js';
import type { MatchSet } from './match-set.js';
import type { PreparedFilter } from './prepared-filter.js';
import type { SelectorCandidates } from './selector-candidates.js';
import { type RegistrationTable, SelectorResult, WorkBudget } from './selector-result.js';

/** Limits of the work and the memory of searches with selectors. */
export interface SelectorSearchLimits {
  /** Maximum number of cached results. */
  readonly maxResults: number;
  /** Maximum work of a turn, in checks of a term or an object. */
  readonly maxUnitsPerTurn: number;
  /** Maximum number of samples before all matches are searched for. */
  readonly maxSamples: number;
}

/**
 * Each cached result takes a bit for each slot, so all take 132 bytes per replica. 6,000 checks take about 1 ms. If 1 in 20
 * matches, 128 samples miss once in 700 searches.
 */
export const SELECTOR_LIMITS: SelectorSearchLimits = { maxResults: 1024, maxUnitsPerTurn: 6000, maxSamples: 128 };

/** Maximum work of sampling. A replica can have thousands of objects. */
const MAX_SAMPLING_UNITS = 10_000;

/** Maximum length of a list that is not sampled, because checking all of it costs no more. */
const MAX_UNSAMPLED = 16;

/** Maximum number of samples of a search that is not worth caching when it is repeated. */
const CHEAP_SAMPLES = 6;

/** Number of filters whose expensive searches are remembered. */
const MAX_REMEMBERED = 4096;

/** Returned when the work of this turn is done. The same search in a later turn continues. */
export const UNFINISHED = 'unfinished';

/** Dependencies of a {@link SelectorSearch}. */
export interface SelectorSearchOptions {
  readonly candidates: SelectorCandidates;
  readonly registrations: RegistrationTable;
  readonly changes: ChangedSlots;
  readonly limits: SelectorSearchLimits;
}

/** Chooses a match of a filter that has other terms than equal pairs. */
export class SelectorSearch {
  readonly #options: SelectorSearchOptions;
  readonly #results: GenerationalCache<string, SelectorResult>;
  /** The filters that needed many samples. The next search of one of them begins to find all its matches. */
  readonly #expensive = new GenerationalCache<string, true>(MAX_REMEMBERED);

  constructor(options: SelectorSearchOptions) {
    this.#options = options;
    this.#results = new GenerationalCache(options.limits.maxResults);
  }

  /**
   * Chooses the slot of a match that isn't excluded, each equally likely. Uses the cached result if there is one, and else
   * samples the shortest list. Finds all matches if the samples miss, or if the same filter needs many samples again.
   */
  choose(filter: PreparedFilter, excluded: readonly number[], random: Random): number | undefined | typeof UNFINISHED {
    const { candidates, limits } = this.#options;
    const cached = this.#results.get(filter.key);
    if (cached?.update(new WorkBudget(limits.maxUnitsPerTurn))) return cached.choose(excluded, random);
    const list = candidates.findList(filter);
    if (!list) return undefined;
    const sampled = this.#sample(filter, list, excluded, random);
    if (sampled !== undefined) return sampled;
    if (cached) return UNFINISHED;
    const result = this.#createResult(filter);
    if (!result.update(new WorkBudget(limits.maxUnitsPerTurn))) return UNFINISHED;
    return result.choose(excluded, random);
  }

  /** Draws from a list until a match is drawn, which is as uniform as the list. Gives up after a limit. */
  #sample(filter: PreparedFilter, list: MatchSet, excluded: readonly number[], random: Random): number | undefined {
    if (list.size <= MAX_UNSAMPLED) return undefined;
    const budget = new WorkBudget(MAX_SAMPLING_UNITS);
    for (let samples = 1; samples <= this.#options.limits.maxSamples && !budget.isSpent; samples++) {
      const slot = list.slots[Math.floor(random.fraction() * list.size)] as number;
      if (!budget.check(filter, this.#options.registrations[slot]) || excluded.includes(slot)) continue;
      if (samples > CHEAP_SAMPLES) this.#createIfRepeated(filter);
      return slot;
    }
    return undefined;
  }

  /** Creates the result of a filter whose samples missed often before. Its next searches complete it. */
  #createIfRepeated(filter: PreparedFilter): void {
    if (!this.#expensive.get(filter.key)) this.#expensive.set(filter.key, true);
    else if (!this.#results.get(filter.key)) this.#createResult(filter);
  }

  #createResult(filter: PreparedFilter): SelectorResult {
    const { candidates, registrations, changes } = this.#options;
    const result = new SelectorResult(filter, registrations, changes, candidates);
    this.#results.set(filter.key, result);
    return result;
  }
}
