import { getPairValue } from '../core/capability.js';
import type { Clock } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import type { Replica } from '../core/replica.js';
import type { Sample } from './label-counts.js';

/** Time for which an offer that nobody makes any more is still listed with 0, in ms. An alert needs the 0. */
const REMEMBERED_MS = 3_600_000;

/** Maximum number of offers that are listed, and of those that are remembered. Anyone who registers can name many models. */
const MAX_OFFERS = 1000;

/** Maximum length of a value, in UTF-16 units. */
const MAX_VALUE_UNITS = 256;

/** A combination of values of the keys, and the number of replicas that offer it. */
interface Offer {
  readonly values: readonly string[];
  replicas: number;
}

/** Counts the replicas that offer each combination of values of some capability keys, such as each model. */
export class OfferCounts {
  readonly #keys: readonly string[];
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #offers = new Map<string, Offer>();
  /** The combinations that nobody offers any more, and since when, oldest first. */
  readonly #gone = new Map<string, { readonly values: readonly string[]; readonly sinceMs: number }>();

  constructor(keys: readonly string[], clock: Pick<Clock, 'nowMs'>) {
    this.#keys = keys;
    this.#clock = clock;
  }

  add(replica: Replica): void {
    for (const [key, values] of this.#listValues(replica)) {
      const offer = this.#offers.get(key);
      if (offer) offer.replicas++;
      else {
        this.#offers.set(key, { values, replicas: 1 });
        this.#gone.delete(key);
      }
    }
  }

  remove(replica: Replica): void {
    for (const [key, values] of this.#listValues(replica)) {
      const offer = this.#offers.get(key);
      if (!offer || --offer.replicas > 0) continue;
      this.#offers.delete(key);
      this.#gone.set(key, { values, sinceMs: this.#clock.nowMs() });
      const [oldest] = this.#gone.keys();
      if (this.#gone.size > MAX_OFFERS && oldest !== undefined) this.#gone.delete(oldest);
    }
  }

  *listSamples(): Generator<Sample> {
    let listed = 0;
    for (const { values, replicas } of this.#offers.values()) {
      if (++listed > MAX_OFFERS) break;
      yield [values, replicas];
    }
    const sinceMs = this.#clock.nowMs() - REMEMBERED_MS;
    for (const [key, gone] of this.#gone) {
      if (gone.sinceMs < sinceMs) this.#gone.delete(key);
      else yield [gone.values, 0];
    }
  }

  /** Returns the combinations that a replica offers, each once. A capability object without any of the keys has none. */
  #listValues({ capabilities }: Replica): Map<string, readonly string[]> {
    const combinations = new Map<string, readonly string[]>();
    for (const { pairs } of capabilities) {
      const values = this.#keys.map((key) => truncateText(getPairValue(key, pairs) ?? '', MAX_VALUE_UNITS));
      if (values.some((value) => value !== '')) combinations.set(values.join('\0'), values);
    }
    return combinations;
  }
}
