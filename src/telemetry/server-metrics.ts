import type { Clock, RegistrationStore, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { LeaseEnd } from '../core/replica.js';
import { type CountedRegistry, FleetCounts } from './fleet-counts.js';
import { LabelCounts, type Sample } from './label-counts.js';
import { METRICS_CONTENT_TYPE, MetricsPage } from './metrics-page.js';
import { RequestTimes } from './request-times.js';

/**
 * Why replicas are removed. Each reason is counted from the start: a series that begins with the first removals would hide them from
 * the function `increase` of Prometheus, and a mass failure is often the first one.
 */
const REMOVAL_REASONS: Readonly<Record<LeaseEnd | 'unknown', true>> = {
  closed: true,
  expired: true,
  unacknowledged: true,
  superseded: true,
  released: true,
  shutdown: true,
  reregistered: true,
  unknown: true,
};

/** Options of {@link ServerMetrics}. */
export interface ServerMetricsOptions {
  readonly registry: CountedRegistry & Pick<Registry, 'leaseCounts' | 'isInSelfPreservation'>;
  readonly store: Pick<RegistrationStore<never>, 'isConnected' | 'stalenessMs'>;
  /** Capability keys whose values are labels. Empty: none. */
  readonly keys: readonly string[];
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly version: string;
}

/** The metrics of an API server. A subscriber of its events and of the changes of its registry. */
export class ServerMetrics {
  readonly contentType = METRICS_CONTENT_TYPE;
  readonly requests = new RequestTimes();
  readonly #page: MetricsPage;
  readonly #refusals = new LabelCounts();
  readonly #removals = new LabelCounts(Object.keys(REMOVAL_REASONS));
  #isWarming = (): boolean => false;

  constructor({ registry, store, keys, clock, version }: ServerMetricsOptions) {
    const page = new MetricsPage(version);
    const fleet = new FleetCounts(registry, keys, clock);
    const { leaseCounts } = registry;
    page.add('anyserve_replicas', () => fleet.states.listSamples());
    if (keys.length > 0) page.add('anyserve_offers', () => fleet.offers.listSamples(), keys);
    page.add('anyserve_leases', () => toSamples(leaseCounts.active));
    page.add('anyserve_registrations_total', () => [
      [['granted'], leaseCounts.granted],
      ...this.#refusals.listSamples(),
    ]);
    page.add('anyserve_removals_total', () => this.#removals.listSamples());
    page.add('anyserve_routes_total', () => this.requests.listRouteResults());
    page.add('anyserve_lease_renewals_total', () => toSamples(leaseCounts.renewals));
    page.add('anyserve_self_preservation', () => [[[], Number(registry.isInSelfPreservation)]]);
    page.add('anyserve_store_connected', () => [[[], Number(store.isConnected ?? true)]]);
    page.add('anyserve_store_staleness_seconds', () => [[[], (store.stalenessMs ?? 0) / 1000]]);
    page.add('anyserve_warming', () => [[[], Number(this.#isWarming())]]);
    page.addHistogram('http_server_request_duration_seconds', this.requests.histogram);
    this.#page = page;
  }

  /** Sets the function that returns whether replicas can still be registering again after the start. */
  readWarmingFrom(isWarming: () => boolean): void {
    this.#isWarming = isWarming;
  }

  /** Counts an event. Subscribe this to an event bus. */
  readonly record = (event: RegistryEvent | ServerEvent): void => {
    if (event.kind === 'removed') this.#removals.add([event.reason ?? 'unknown']);
    else if (event.kind === 'registration_refused') this.#refusals.add([event.code]);
  };

  /** Returns the metrics in the format of Prometheus. */
  render(): Promise<string> {
    return this.#page.render();
  }
}

function toSamples(counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([label, count]) => [[label], count]);
}
