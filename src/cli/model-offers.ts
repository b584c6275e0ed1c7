import type { MergedReplica } from '../client/merged-list.js';
import type { Capability } from '../core/capability.js';
import { listOffers, type Offer } from '../core/offer.js';
import { compareSortKeys } from './replica-order.js';

/** A model that replicas offer, and how many do. */
export interface ModelOffer extends Pick<Offer, 'model' | 'type'> {
  /** Number of replicas that get calls for it. */
  readonly ready: number;
  readonly replicas: number;
  /** Calls in progress at the replicas that report it, for all of their models. Undefined if none does. */
  readonly running: number | undefined;
  /** Calls that wait at these replicas. */
  readonly waiting: number | undefined;
}

/**
 * Counts the replicas for each pair of model and type, sorted by model and then type. A capability counts if `isShown` returns true
 * for it. A replica with several capabilities of one model and type counts once.
 */
export function countOffers(
  replicas: readonly MergedReplica[],
  isShown: (capability: Capability) => boolean = () => true,
): ModelOffer[] {
  const offers = new Map<string, ModelOffer>();
  for (const row of replicas) {
    for (const { key, model, type } of listOffers(row.listed.replica.capabilities.filter(isShown)))
      offers.set(key, addReplica(offers.get(key), { model, type }, row));
  }
  return [...offers.values()].sort((a, b) => compareSortKeys(a.model, b.model) || compareSortKeys(a.type, b.type));
}

function addReplica(
  counted: ModelOffer | undefined,
  offered: Pick<Offer, 'model' | 'type'>,
  { listed: { state, cordon, load } }: MergedReplica,
): ModelOffer {
  // A server that reports no states lists only connected replicas.
  const isReady = (state === undefined || state === 'ready') && !cordon?.cordoned;
  return {
    ...offered,
    ready: (counted?.ready ?? 0) + (isReady ? 1 : 0),
    replicas: (counted?.replicas ?? 0) + 1,
    running: addOptional(counted?.running, load?.running),
    waiting: addOptional(counted?.waiting, load?.waiting),
  };
}

function addOptional(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : a + (b ?? 0);
}
