import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { isRoutable, type Registration } from '../core/replica.js';
import { LabelCounts } from './label-counts.js';
import { OfferCounts } from './offer-counts.js';

/** The parts of a registry whose replicas are counted. */
export type CountedRegistry = Pick<Registry, 'pages'> & {
  readonly changes: Pick<Registry['changes'], 'subscribe'>;
};

/** Counts the registered replicas by state and by offer. Follows the changes, because a scrape must not read the whole list. */
export class FleetCounts {
  readonly states = new LabelCounts(['ready', 'unready', 'draining', 'suspect', 'cordoned']);
  readonly offers: OfferCounts;

  constructor(registry: CountedRegistry, keys: readonly string[], clock: Pick<Clock, 'nowMs'>) {
    this.offers = new OfferCounts(keys, clock);
    for (const { registrations } of registry.pages()) for (const registration of registrations) this.#add(registration);
    registry.changes.subscribe(({ registration, previous }) => {
      // The new one first: a model that stays offered is not gone in between.
      if (registration) this.#add(registration);
      if (previous) this.#remove(previous);
    });
  }

  #add(registration: Registration): void {
    this.states.add([getLabel(registration)]);
    if (isRoutable(registration)) this.offers.add(registration.replica);
  }

  #remove(registration: Registration): void {
    this.states.add([getLabel(registration)], -1);
    if (isRoutable(registration)) this.offers.remove(registration.replica);
  }
}

function getLabel({ state, cordon }: Registration): string {
  return cordon?.cordoned ? 'cordoned' : state;
}
