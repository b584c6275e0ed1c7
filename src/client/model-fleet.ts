import type { ListedReplica } from '../api/replica-list-json.js';
import { type CapabilityQuery, createPairs, getPairValue, listPairs } from '../core/capability.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock, Random } from '../core/ports.js';
import { hasProtocol, type Protocol } from '../core/protocol.js';
import { EMPTY_SELECTOR, matchesSelector, type Selector } from '../core/selector.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import { Fleet, FleetView, type ReplicaSource } from './balancing/fleet.js';
import { createPicker } from './balancing/pickers/create-picker.js';
import type { Picker } from './balancing/pickers/picker.js';
import { createPreference } from './balancing/preference.js';
import { ReplicaTable } from './balancing/replica-table.js';
import { TableDiscovery } from './balancing/table-discovery.js';
import { TableFeeds } from './balancing/table-feeds.js';
import type { ClientReplica, PickerName } from './client-options.js';

/** Which of the replicas that offer a model can take a call. */
export interface CallConditions {
  /** Pairs that the object of the model must have too. */
  readonly query: CapabilityQuery;
  readonly selector: Selector;
  /** Replicas that also satisfy it are called first. */
  readonly preference: Selector;
}

/** Conditions that every replica meets. */
export const NO_CONDITIONS: CallConditions = { query: [], selector: EMPTY_SELECTOR, preference: EMPTY_SELECTOR };

/** Options of a {@link ModelFleet}. */
export interface ModelFleetOptions {
  readonly api: ApiClient;
  /** The replicas to follow. */
  readonly query: CapabilityQuery;
  readonly selector: Selector;
  readonly pick: PickerName;
  /** Called when a replica has left an endpoint. */
  readonly onRemoved: (endpoint: string) => void;
  readonly clock: Clock;
  readonly random: Random;
}

/** Key of the pair that names the model of a capability object. */
const MODEL_KEY = 'model';

/** Timeout for the first list of replicas, in ms. */
const LIST_TIMEOUT_MS = 3000;

/** Maximum number of combinations of model and conditions whose matches are kept. */
const MAX_VIEWS = 2000;

type ReplicaMap = ReplicaSource['replicas'];

const NO_REPLICAS: ReplicaMap = new Map();

/**
 * The replicas of a fleet by model. A client of one capability has one list of replicas; a client that gets the model with each
 * call has one for each model and conditions, all of the same table and with the same observations.
 */
export class ModelFleet {
  readonly #fleet: Fleet;
  readonly #api: ApiClient;
  readonly #clock: Clock;
  readonly #picker: Picker;
  readonly #views = new GenerationalCache<string, TableDiscovery>(MAX_VIEWS);
  #groups: { readonly from: ReplicaMap; readonly byModel: ReadonlyMap<string, ReplicaMap> } | undefined;

  constructor({ api, query, selector, pick, onRemoved, clock, random }: ModelFleetOptions) {
    const table = new ReplicaTable(clock, ({ replica }) => onRemoved(replica.endpoint));
    const feeds = new TableFeeds({ api, filter: { query, selector }, table, clock, random });
    this.#fleet = new Fleet({ table, startTable: () => void feeds.run(), stopTable: () => feeds.stop(), clock });
    this.#api = api;
    this.#clock = clock;
    this.#picker = createPicker(pick, random);
  }

  /** Whether a complete list of the replicas has arrived. */
  get isLoaded(): boolean {
    return this.#fleet.isLoaded;
  }

  /** Number of ejections of replicas since the start. */
  get ejections(): number {
    return this.#fleet.stats.ejections;
  }

  /** Starts to follow the API servers. */
  start(): void {
    this.#fleet.start();
  }

  /** Finds replicas that offer a model, speak a protocol and meet the conditions. The same text stands for the same conditions. */
  getDiscovery(model: string, protocol: Protocol, conditions = NO_CONDITIONS, conditionsText = ''): TableDiscovery {
    const key = `${protocol}\n${model}\n${conditionsText}`;
    let discovery = this.#views.get(key);
    if (!discovery) {
      discovery = this.#createDiscovery(model, protocol, conditions);
      this.#views.set(key, discovery);
    }
    return discovery;
  }

  /** Stands for the current list of replicas: another object after each change. */
  get snapshot(): object {
    return this.#getGroups();
  }

  /** Returns whether a replica offers a model. */
  hasModel(name: string): boolean {
    return this.#getGroups().has(name);
  }

  /** Lists the names of the models that replicas offer, in any state. */
  listModels(): readonly string[] {
    return [...this.#getGroups().keys()];
  }

  /**
   * Lists the replicas that speak a protocol, in any state, with the observations of them. Rejects with `server_unreachable` if
   * no API server responds within 3 s.
   */
  listReplicas(protocol: Protocol): Promise<readonly ClientReplica[]> {
    const source = new FleetView(this.#fleet, (replicas) =>
      [...replicas].filter(([, { replica }]) => hasProtocol(replica.endpoint, protocol)),
    );
    return new TableDiscovery({ source, picker: this.#picker, clock: this.#clock }).listReplicas();
  }

  /** Waits until the list of the replicas is complete, for at most 3 s. */
  async waitForList(): Promise<void> {
    const loaded = new AbortController();
    this.#fleet.start();
    void this.#fleet.loaded.then(() => loaded.abort());
    await sleep(this.#clock, LIST_TIMEOUT_MS, loaded.signal);
  }

  close(): void {
    this.#fleet.close();
    this.#api.close();
  }

  #createDiscovery(model: string, protocol: Protocol, { query, selector, preference }: CallConditions): TableDiscovery {
    const ofModel = createPairs([[MODEL_KEY, model], ...listPairs(query).filter(([key]) => key !== MODEL_KEY)]);
    const contradicts = (getPairValue(MODEL_KEY, query) ?? model) !== model;
    const isMatch = ([, { replica }]: readonly [ReplicaId, ListedReplica]): boolean =>
      hasProtocol(replica.endpoint, protocol) && matchesSelector(ofModel, selector, replica.capabilities);
    const select = (): (readonly [ReplicaId, ListedReplica])[] =>
      contradicts ? [] : [...(this.#getGroups().get(model) ?? NO_REPLICAS)].filter(isMatch);
    const source = new FleetView(this.#fleet, select, model);
    const isPreferred = createPreference({ query: ofModel, selector }, preference);
    return new TableDiscovery({ source, picker: this.#picker, isPreferred, clock: this.#clock });
  }

  /** Returns the replicas by the models that they offer. */
  #getGroups(): ReadonlyMap<string, ReplicaMap> {
    const from = this.#fleet.replicas;
    if (this.#groups?.from !== from) this.#groups = { from, byModel: groupByModel(from) };
    return this.#groups.byModel;
  }
}

function groupByModel(replicas: ReplicaMap): ReadonlyMap<string, ReplicaMap> {
  const groups = new Map<string, Map<ReplicaId, ListedReplica>>();
  for (const [id, listed] of replicas) {
    for (const { pairs } of listed.replica.capabilities) {
      const model = getPairValue(MODEL_KEY, pairs);
      if (model === undefined) continue;
      const group = groups.get(model);
      if (group) group.set(id, listed);
      else groups.set(model, new Map([[id, listed]]));
    }
  }
  return groups;
}
