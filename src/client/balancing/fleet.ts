import type { ListedReplica } from '../../api/replica-list-json.js';
import type { ReplicaId } from '../../core/ids.js';
import type { Clock } from '../../core/ports.js';
import type { ReplicaStats } from './replica-stats.js';
import type { ReplicaTable } from './replica-table.js';
import { StatsTable } from './stats-table.js';

/** Replicas that calls can be made to, with the client's observations of them. */
export interface ReplicaSource {
  /** The replicas by id. A change creates another map. */
  readonly replicas: ReadonlyMap<ReplicaId, ListedReplica>;
  readonly stats: StatsTable;
  /** Returns the observations of an endpoint, for the calls of this source. */
  getStats(endpoint: string): ReplicaStats;
  /** Whether a complete list has arrived. */
  readonly isLoaded: boolean;
  /** Resolves when the list is complete for the first time. */
  readonly loaded: Promise<void>;
  /** Whether replicas can be missing, because all API servers have just started. */
  readonly isWarming: boolean;
  /** Starts to follow the API servers. Later calls have no effect. */
  start(): void;
  close(): void;
}

/** Options of a {@link Fleet}. */
export interface FleetOptions {
  readonly table: ReplicaTable;
  /** Starts to fill the table. Called once. */
  readonly startTable: () => void;
  readonly stopTable: () => void;
  readonly clock: Clock;
}

/** All replicas of a table, with the client's observations of them. Forgets the observations of replicas that have left. */
export class Fleet implements ReplicaSource {
  readonly stats: StatsTable;
  readonly #options: FleetOptions;
  #known: ReplicaSource['replicas'] | undefined;
  #isStarted = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.stats = new StatsTable(options.clock);
    options.table.followLoads((endpoint, load) => this.stats.get(endpoint).recordListedLoad(load));
  }

  get replicas(): ReplicaSource['replicas'] {
    const { replicas } = this.#options.table;
    if (replicas !== this.#known) {
      this.#known = replicas;
      const endpoints = new Set<string>();
      for (const { replica } of replicas.values()) endpoints.add(replica.endpoint);
      this.stats.keepOnly(endpoints);
    }
    return replicas;
  }

  getStats(endpoint: string): ReplicaStats {
    return this.stats.getForModel(endpoint, '');
  }

  get isLoaded(): boolean {
    return this.#options.table.isLoaded;
  }

  get loaded(): Promise<void> {
    return this.#options.table.loaded;
  }

  get isWarming(): boolean {
    return this.#options.table.isWarming;
  }

  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#options.startTable();
  }

  close(): void {
    this.#options.stopTable();
  }
}

/** The replicas of a source that match a condition. All views of a fleet share its observations, and those of one model all of them. */
export class FleetView implements ReplicaSource {
  readonly #source: ReplicaSource;
  readonly #select: (replicas: ReplicaSource['replicas']) => Iterable<readonly [ReplicaId, ListedReplica]>;
  readonly #model: string;
  #selected: { readonly from: ReplicaSource['replicas']; readonly replicas: ReplicaSource['replicas'] } | undefined;

  /** `select` returns the replicas of the view. Called after each change of the source. `model`: that of all calls. */
  constructor(
    source: ReplicaSource,
    select: (replicas: ReplicaSource['replicas']) => Iterable<readonly [ReplicaId, ListedReplica]>,
    model = '',
  ) {
    this.#model = model;
    this.#source = source;
    this.#select = select;
  }

  get replicas(): ReplicaSource['replicas'] {
    const from = this.#source.replicas;
    if (this.#selected?.from !== from) this.#selected = { from, replicas: new Map(this.#select(from)) };
    return this.#selected.replicas;
  }

  get stats(): StatsTable {
    return this.#source.stats;
  }

  getStats(endpoint: string): ReplicaStats {
    return this.stats.getForModel(endpoint, this.#model);
  }

  get isLoaded(): boolean {
    return this.#source.isLoaded;
  }

  get loaded(): Promise<void> {
    return this.#source.loaded;
  }

  get isWarming(): boolean {
    return this.#source.isWarming;
  }

  start(): void {
    this.#source.start();
  }

  /** Has no effect: the source is closed by its owner. */
  close(): void {}
}
