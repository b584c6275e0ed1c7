import { PassThrough } from 'node:stream';
import { UNKNOWN_REGISTRY } from '../../src/api/instance-json.js';
import { formatRegisteredEvent, formatSupersededEvent } from '../../src/api/lease-events.js';
import type { RenewalReport } from '../../src/api/lease-renewal.js';
import type { RegistrationTerms } from '../../src/api/replica-json.js';
import type { ApiClient } from '../../src/client/api-client.js';
import type { OpenLease, RenewalResponse } from '../../src/client/lease-client.js';
import type { ServerAddress } from '../../src/client/server-list.js';
import { AnyserveError } from '../../src/core/errors.js';
import { asLeaseId, asRegistryId, type LeaseId, type ReplicaId } from '../../src/core/ids.js';
import type { Ids, Random, RegistrationStore } from '../../src/core/ports.js';
import { Registry } from '../../src/core/registry.js';
import { isSameInstance, type Replica } from '../../src/core/replica.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { toServer } from './api-client.js';
import type { ManualClock } from './manual-clock.js';
import { createCountingIds, createRecordingEvents } from './replicas.js';

/** Maximum time of a message between a process and a server, in ms. */
const MAX_DELAY_MS = 200;

/** Creates the store of a process of a server. `cut` separates it from what it shares with others, as a kill does. */
export type CreateStore = (
  server: string,
  process: string,
) => { readonly store: RegistrationStore; readonly cut: () => void };

const createMemoryStore: CreateStore = (_server, name) => ({
  store: new MemoryStore(asRegistryId(name)),
  cut: () => {},
});

/** Creates ids that no other process has. */
function createProcessIds(process: string): Ids {
  const ids = createCountingIds();
  return { ...ids, createLeaseId: () => asLeaseId(`${process} ${ids.createLeaseId()}`) };
}

/** One API server of a simulation: a real registry behind a simulated network. */
export class SimulatedServer {
  readonly address: ServerAddress;
  readonly #clock: ManualClock;
  readonly #random: Random;
  readonly #createStore: CreateStore;
  readonly #streams = new Set<PassThrough>();
  #registry: Registry | undefined;
  #cutStore = (): void => {};
  #starts = 0;

  constructor(name: string, clock: ManualClock, random: Random, createStore: CreateStore = createMemoryStore) {
    this.address = toServer(name);
    this.#clock = clock;
    this.#random = random;
    this.#createStore = createStore;
  }

  /** The registry; undefined while the server is down. */
  get registry(): Registry | undefined {
    return this.#registry;
  }

  /** Starts the server with the registry of a new store. */
  start(): void {
    const process = `${this.address.name} ${++this.#starts}`;
    const { store, cut } = this.#createStore(this.address.name, process);
    this.#cutStore = cut;
    const [clock, random] = [this.#clock, this.#random];
    this.#registry = new Registry({
      store,
      clock,
      random,
      ids: createProcessIds(process),
      events: createRecordingEvents(),
    });
  }

  /** Ends the server. All connections break. */
  kill(): void {
    this.#registry = undefined;
    this.#cutStore();
    for (const stream of [...this.#streams]) stream.destroy(new Error('reset'));
  }

  async open(replica: Replica, { ttlMs, state, instance }: RegistrationTerms, signal: AbortSignal): Promise<OpenLease> {
    const registry = await this.#reach(signal);
    const refusal = registry.checkRegistration(replica, { host: 'h', instance });
    if (refusal) throw new AnyserveError('server_unreachable', refusal.message);
    const previous = registry.find(replica.id)?.registration.instance;
    const body = new PassThrough();
    body.on('error', () => {});
    this.#streams.add(body);
    const terms = { host: 'h', ttlMs, state, instance };
    const lease = await registry.register(replica, terms, (end, by) => {
      if (body.destroyed) return;
      this.#later(() => body.end(end === 'superseded' ? formatSupersededEvent(replica.id, by) : ''));
    });
    body.once('close', () => {
      this.#streams.delete(body);
      this.#later(() => void registry.release(lease, 'closed'));
    });
    const replaced = previous && !isSameInstance(previous, instance) ? previous : undefined;
    await this.#delay();
    if (signal.aborted || this.#registry !== registry) {
      body.destroy();
      throw signal.reason ?? new AnyserveError('server_unreachable', 'reset');
    }
    body.write(formatRegisteredEvent(replica.id));
    return { server: this.address, body, id: lease, registry: registry.id ?? UNKNOWN_REGISTRY, replaced };
  }

  async renew(lease: LeaseId, report: RenewalReport, signal: AbortSignal): Promise<RenewalResponse> {
    const registry = await this.#reach(signal);
    const update =
      report.capabilities && ((present: Replica) => ({ ...present, capabilities: report.capabilities ?? [] }));
    const result = await registry.renew(lease, report.state, update, report.seq);
    await this.#delay();
    if (result === 'too_soon' || result instanceof AnyserveError)
      throw new AnyserveError('resource_exhausted', 'later');
    return { reply: result, cordon: undefined };
  }

  async release(lease: LeaseId, signal: AbortSignal): Promise<void> {
    await (await this.#reach(signal)).release(lease, 'released');
  }

  /** Returns the registry after the time of a request. Rejects while the server is down. */
  async #reach(signal: AbortSignal): Promise<Registry> {
    await this.#delay();
    if (signal.aborted) throw signal.reason;
    if (!this.#registry) throw new AnyserveError('server_unreachable', `${this.address.name} is down`);
    return this.#registry;
  }

  async isListed(id: ReplicaId, signal: AbortSignal): Promise<boolean> {
    return (await this.#reach(signal)).find(id) !== undefined;
  }

  async findRegistry(signal: AbortSignal): Promise<string | undefined> {
    return (await this.#reach(signal)).id ?? UNKNOWN_REGISTRY;
  }

  #delay(): Promise<void> {
    return new Promise((resolve) => this.#later(resolve));
  }

  #later(task: () => void): void {
    this.#clock.schedule(this.#random.fraction() * MAX_DELAY_MS, task);
  }
}

/** Creates a client of simulated servers, with the methods that a lease keeper uses. */
export function createSimulatedClient(servers: readonly SimulatedServer[]): ApiClient {
  const find = ({ name }: ServerAddress): SimulatedServer =>
    servers.find(({ address }) => address.name === name) as SimulatedServer;
  const client = {
    token: undefined,
    servers: {
      follow: async (onServers: (addresses: readonly ServerAddress[]) => void) =>
        onServers(servers.map(({ address }) => address)),
    },
    leases: {
      findRegistry: (server: ServerAddress, signal: AbortSignal) => find(server).findRegistry(signal),
      open: (server: ServerAddress, replica: Replica, terms: RegistrationTerms, signal: AbortSignal) =>
        find(server).open(replica, terms, signal),
      renew: ({ server, id }: OpenLease, report: RenewalReport, signal: AbortSignal) =>
        find(server).renew(id as LeaseId, report, signal),
      release: ({ server, id }: OpenLease, signal: AbortSignal) => find(server).release(id as LeaseId, signal),
    },
    async findReplica(id: ReplicaId, { signal }: { readonly signal: AbortSignal }) {
      const results = await Promise.allSettled(servers.map((server) => server.isListed(id, signal)));
      const responses = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      if (responses.length === 0) throw new AnyserveError('server_unreachable', 'all servers are down');
      return responses.includes(true) ? {} : undefined;
    },
    isAlive: async () => true,
  };
  return client as unknown as ApiClient;
}
