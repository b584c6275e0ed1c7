import { type LeaseId, type RegistryId, type ReplicaId, readServer, type ServerId } from '../../core/ids.js';
import type {
  CanReplace,
  Clock,
  Events,
  ForeignLease,
  Ids,
  LeaseOwner,
  Random,
  RegistrationStore,
  RegistryEvent,
  StoreEvent,
} from '../../core/ports.js';
import type { LeaseEnd, Registration, RegistrationChange, Replica } from '../../core/replica.js';
import { createTakenError } from '../../core/scope.js';
import type { HostCounts } from '../../core/self-preservation.js';
import { BatchWriter } from './batch-writer.js';
import { CatchUp } from './catch-up.js';
import { put, type WriteOutcome } from './conditional-write.js';
import type { EtcdApi, EtcdError } from './etcd-api.js';
import { EtcdKeys } from './etcd-keys.js';
import { EtcdMirror, type ListReceiver } from './etcd-mirror.js';
import { EtcdSession } from './etcd-session.js';
import type { Event } from './gen/etcd.js';
import { createGroupedKeys, type GroupedKeys, groupKeyChanges, groupKeys } from './grouped-keys.js';
import { LeaseEnds } from './lease-ends.js';
import { LocalRecords } from './local-records.js';
import { ProblemMonitor } from './problem-monitor.js';
import { RecordTable } from './record-table.js';
import type { RecordWrite } from './record-write.js';
import { digestLease } from './registration-record.js';
import { claimRegistryId, parseRegistryId } from './registry-id.js';
import { ServerMarkers } from './server-markers.js';
import { SettledWaits } from './settled-waits.js';
import { StoreProblems } from './store-problems.js';

/** Dependencies of a store in etcd. */
export interface EtcdStoreOptions<R extends Replica> {
  readonly api: EtcdApi;
  /** Prefix of all keys, without a slash at the end. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Pick<Ids, 'createServerId' | 'createRegistryId'>;
  /** Creates a replica of the registry's type. */
  readonly createReplica: (replica: Replica) => R;
  readonly events: Events<RegistryEvent>;
}

/** Maximum time until a start without an answer of etcd counts as done, in ms. The server then works with what it knows. */
const START_TIMEOUT_MS = 5000;

/** Maximum size of a record, in bytes. A batch has room for two, because a put of a known key has its value twice. */
const MAX_RECORD_BYTES = 256 * 1024;

/** Maximum number of remembered leases of this server. */
const MAX_OWN_LEASES = 1000;

/**
 * Keeps registrations in etcd, for several API servers. Each server has a copy of all in memory and answers from it. Its own
 * registrations are always there, whether etcd can be reached or not; they are written when it can. See README.md.
 */
export class EtcdStore<R extends Replica> implements RegistrationStore<R> {
  readonly serverId: ServerId;
  readonly #options: EtcdStoreOptions<R>;
  readonly #keys: EtcdKeys;
  readonly #listeners = new Set<(event: StoreEvent<R>) => void>();
  readonly #ownLeases = new Set<bigint>();
  readonly #table: RecordTable<R>;
  readonly #session: EtcdSession;
  readonly #mirror: EtcdMirror;
  readonly #writer: BatchWriter<ReplicaId, RecordWrite<R>>;
  readonly #markers: ServerMarkers;
  readonly #leaseEnds: LeaseEnds;
  readonly #waits: SettledWaits;
  readonly #localRecords: LocalRecords;
  readonly #catchUp: CatchUp;
  readonly #problems: StoreProblems;
  readonly #monitor: ProblemMonitor;
  #countHosts: () => HostCounts = () => ({ hosts: 0, silent: 0 });
  #registryId: RegistryId | undefined;
  #start: Promise<void> | undefined;
  #finishStart = (): void => {};
  #isClosed = false;

  constructor(options: EtcdStoreOptions<R>) {
    this.#options = options;
    const { api, prefix, clock, random, events } = options;
    this.serverId = options.ids.createServerId();
    this.#keys = new EtcdKeys(prefix);
    this.#table = this.#createTable();
    this.#session = new EtcdSession({ api, clock, random, onLease: (lease) => this.#useLease(lease) });
    const listener: ConstructorParameters<typeof EtcdMirror>[0]['listener'] = {
      startList: () => this.#startList(),
      onChanges: (events) => this.#applyChanges(events),
    };
    this.#mirror = new EtcdMirror({ api, keys: this.#keys.range, clock, random, listener });
    this.#writer = this.#createWriter();
    this.#markers = this.#createMarkers();
    this.#leaseEnds = new LeaseEnds({
      clock,
      countServers: () => this.#markers.count,
      isFollowing: () => this.#markers.isFresh,
      setSuspect: (lease, isSuspect) => this.#table.setOrphansSuspect(lease, isSuspect),
      drop: (lease) => this.#table.dropOrphans(lease),
    });
    this.#monitor = new ProblemMonitor({ clock, events, listProblems: () => this.listProblems() });
    this.#catchUp = new CatchUp({
      clock,
      getFreshAtMs: () => this.#markers.freshAtMs,
      hurry: () => this.#markers.start(),
    });
    this.#localRecords = new LocalRecords({
      clock,
      isRecorded: (replicaId) => this.#table.isRecorded(replicaId, this.#session.lease),
      explain: (replicaId) => this.#table.findRejection(replicaId) ?? this.#problems.describeMissingWrite(),
      onChange: (replicaId, problem) => this.#notifySharing(replicaId, problem),
    });
    this.#problems = new StoreProblems({
      getConnectionProblem: () => this.#session.problem ?? this.#mirror.problem,
      markers: this.#markers,
      localRecords: this.#localRecords,
    });
    this.#waits = new SettledWaits({ clock, isSettled: (replicaId) => this.#isSettled(replicaId) });
  }

  /** The id that the first server wrote under the prefix. */
  get registryId(): RegistryId | undefined {
    return this.#registryId;
  }

  /** Time since the registrations of other servers were known to be complete, in ms. Infinity before the first list. */
  get stalenessMs(): number {
    return this.#markers.stalenessMs;
  }

  publishUrl(url: string): void {
    this.#markers.setUrl(url, { isFixed: true });
  }

  publishHosts(count: () => HostCounts): void {
    this.#countHosts = count;
  }

  countOtherHosts(): HostCounts {
    return this.#markers.countOtherHosts();
  }

  /** Whether the lease is being renewed and the watch is open. */
  get isConnected(): boolean {
    return this.#session.problem === undefined && this.#mirror.problem === undefined;
  }

  /** Returns what doesn't work at present. Registrations are accepted and calls are routed all the same. */
  listProblems(): string[] {
    return this.#problems.list();
  }

  start(): Promise<void> {
    this.#start ??= new Promise((resolve) => {
      const cancel = this.#options.clock.schedule(START_TIMEOUT_MS, resolve, { background: true });
      this.#finishStart = () => {
        cancel();
        resolve();
      };
      this.#session.start();
      this.#mirror.start();
      this.#markers.start();
      this.#monitor.start();
      this.#localRecords.start();
    });
    return this.#start;
  }

  /**
   * Resolves when the registration is in etcd, or after 1 s: until then it is in this server only. If it can't replace a
   * registration that is found later, that one supersedes it.
   */
  async put(registration: Registration<R>, canReplace?: CanReplace): Promise<void> {
    if (this.#isClosed) return;
    const { id } = registration.replica;
    const present = this.#table.get(id);
    if (present && canReplace?.(present) === false) throw createTakenError(id);
    this.#localRecords.forget(id);
    if (registration.ownerUrl !== undefined) this.#markers.setUrl(registration.ownerUrl, { isFixed: false });
    const own = this.#table.put(registration, canReplace);
    await this.#waits.wait(id);
    if (own.isRefused) throw createTakenError(id);
    // A newer registration of the id has its own wait.
    if (!this.#isClosed && this.#table.getOwnLease(id) === registration.lease) this.#localRecords.markIfUnrecorded(id);
  }

  /** Resolves at once: the owner's renewals must not wait for etcd. */
  async change(lease: LeaseId, change: RegistrationChange<R>): Promise<void> {
    if (!this.#isClosed) this.#table.change(lease, change);
  }

  async delete(lease: LeaseId, end: LeaseEnd): Promise<void> {
    const id = this.#isClosed ? undefined : this.#table.delete(lease, end);
    if (id !== undefined && end !== 'shutdown') await this.#waits.wait(id);
  }

  /**
   * Without a record, the server that the lease names can tell. If it has no marker, or no URL, waits for up to 1 s until the mirror is
   * known to have every record that etcd has. Right after an outage that proves nothing, because the owner can still be writing its record.
   */
  async findForeignLease(lease: LeaseId): Promise<ForeignLease<R>> {
    const alias = digestLease(lease);
    const findShared = (): ForeignLease<R> | undefined => {
      const registration = this.#table.find(alias);
      return registration && { kind: 'shared', alias, registration };
    };
    const shared = findShared();
    if (shared) return shared;
    const server = readServer(lease);
    if (server === this.serverId) return { kind: 'none', alias };
    const findOwner = (): LeaseOwner | undefined => server && this.#markers.findServer(server);
    const known = findOwner();
    if (known?.url !== undefined && known.lostForMs === undefined) return { kind: 'unshared', alias, owner: known };
    const isComplete = await this.#catchUp.wait();
    const sharedMeanwhile = findShared();
    if (sharedMeanwhile) return sharedMeanwhile;
    const owner = findOwner();
    if (owner && owner.lostForMs === undefined)
      return owner.url === undefined ? { kind: 'unsettled', alias } : { kind: 'unshared', alias, owner };
    if (!isComplete || this.#markers.isRecovering) return { kind: 'unsettled', alias };
    return owner?.url === undefined ? { kind: 'none', alias } : { kind: 'unshared', alias, owner };
  }

  subscribe(listener: (event: StoreEvent<R>) => void): () => void {
    for (const registration of this.#table.listShown()) listener({ kind: 'put', registration });
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    const { lease, problem } = this.#session;
    for (const part of [
      this.#monitor,
      this.#localRecords,
      this.#markers,
      this.#leaseEnds,
      this.#writer,
      this.#mirror,
      this.#session,
    ])
      part.close();
    this.#waits.close();
    this.#catchUp.close();
    this.#finishStart();
    // Without records, only the marker is left. Records stay until the lease expires, for the servers that take them over.
    if (lease !== undefined && problem === undefined && !this.#table.hasOwnRecords()) {
      await this.#options.api.revokeLease(lease).catch(() => {});
    }
    this.#options.api.close();
  }

  #createTable(): RecordTable<R> {
    return new RecordTable({
      keys: this.#keys,
      createReplica: this.#options.createReplica,
      isOwnLease: (lease) => this.#ownLeases.has(lease),
      notify: (event) => this.#notify(event),
      onUnsettled: (id) => {
        this.#writer.add(id);
        this.#localRecords.add(id);
      },
      onUnreadable: (id, problem) => this.#warn(`ignored the record of ${JSON.stringify(id)} in etcd: ${problem}`),
    });
  }

  #createMarkers(): ServerMarkers {
    const { api, clock } = this.#options;
    return new ServerMarkers({
      api,
      clock,
      id: this.serverId,
      key: this.#keys.forServer(this.serverId),
      getLease: () => this.#session.lease,
      countHosts: () => this.#countHosts(),
      // A marker is a write too: it shows that etcd is full, or accepts this user no longer, before a registration needs it.
      onWritten: () => this.#problems.recordPut(),
      onFailure: (error, lease) => {
        if (error.kind === 'lease_lost') this.#loseLease(lease);
        this.#problems.recordFailure(error);
      },
      onWatchBehind: () => this.#mirror.restart(),
    });
  }

  #createWriter(): BatchWriter<ReplicaId, RecordWrite<R>> {
    const { api, clock, random } = this.#options;
    return new BatchWriter({
      api,
      clock,
      random,
      quotaProbe: put({ key: this.#keys.quotaProbe, value: Buffer.from('{}'), lease: 0n, ignoreLease: false }),
      findWrite: (id) => this.#findWrite(id),
      canBeDeletion: (id) => this.#table.getOwnLease(id) === undefined,
      onOutcome: (id, write, outcome, revision) => this.#recordOutcome(id, write, outcome, revision),
      onRejected: (id, _write, error) => this.#reject(id, error.message),
      onFailure: (error, writes) => this.#recordFailure(error, writes),
    });
  }

  #findWrite(id: ReplicaId): RecordWrite<R> | undefined {
    const write = this.#table.findWrite(id, this.#session.lease);
    const bytes = write && 'value' in write ? write.value.length : 0;
    if (bytes <= MAX_RECORD_BYTES) return write;
    this.#reject(id, `its record has ${bytes} bytes, and the maximum is ${MAX_RECORD_BYTES}`);
    return undefined;
  }

  #reject(id: ReplicaId, reason: string): void {
    this.#table.recordRejection(id, reason, this.#mirror.revision);
    this.#warn(`the registration of ${JSON.stringify(id)} is only in this API server: ${reason}`);
    this.#localRecords.markIfUnrecorded(id);
    this.#waits.check(id);
  }

  #recordOutcome(id: ReplicaId, write: RecordWrite<R>, outcome: WriteOutcome, revision: bigint): void {
    if (write.kind !== 'delete') this.#problems.recordPut();
    this.#table.recordOutcome(id, write, outcome, revision);
    this.#localRecords.check(id);
    this.#waits.check(id);
  }

  #recordFailure(error: EtcdError, writes: ReadonlyMap<ReplicaId, RecordWrite<R>>): void {
    if (error.kind === 'lease_lost')
      for (const write of writes.values()) if (write.kind === 'put') this.#loseLease(write.lease);
    this.#problems.recordFailure(error);
    if (this.#problems.isReadOnly) for (const id of writes.keys()) this.#localRecords.markIfUnrecorded(id);
  }

  #notifySharing(id: ReplicaId, problem: string | undefined): void {
    const lease = this.#table.getOwnLease(id);
    if (lease !== undefined) this.#notify({ kind: 'sharing', lease, problem });
  }

  #notify(event: StoreEvent<R>): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Attaches all own records to a new lease. No replica notices. */
  #useLease(lease: bigint): void {
    this.#ownLeases.add(lease);
    const [oldest] = this.#ownLeases;
    if (this.#ownLeases.size > MAX_OWN_LEASES && oldest !== undefined) this.#ownLeases.delete(oldest);
    this.#table.reconcileAll();
    this.#writer.hurry();
    this.#markers.start();
  }

  #loseLease(lease: bigint): void {
    if (lease !== this.#session.lease) return;
    this.#leaseEnds.recordOwn();
    this.#session.replace(lease);
  }

  #isSettled(id: ReplicaId): boolean {
    if (this.#writer.isWriting(id)) return false;
    return this.#session.lease !== undefined && !this.#table.needsWrite(id, this.#session.lease);
  }

  #startList(): ListReceiver {
    const groups = createGroupedKeys();
    return {
      onPage: (kvs) => groupKeys(kvs, this.#keys, groups, (id, kv) => this.#table.prepare(id, kv)),
      onEnd: (revision, facts) => this.#applyList(groups, revision, facts),
    };
  }

  #applyList(
    { records, markers, registry }: GroupedKeys,
    revision: bigint,
    { ageMs, isReset }: { readonly ageMs: number; readonly isReset: boolean },
  ): void {
    if (isReset) this.#table.reset();
    const ended = this.#markers.recordList(markers, ageMs);
    this.#table.observeList(records, revision, (lease) => ended.includes(lease));
    this.#recordEnds(ended);
    this.#registryId = parseRegistryId(registry?.value) ?? this.#registryId;
    if (!registry) void this.#claimRegistryId();
    this.#catchUp.check();
    this.#finishStart();
  }

  /** Applies complete revisions. `/route` sees nothing in between, because nothing here waits. */
  #applyChanges(events: readonly Event[]): void {
    const { records, markers, registry } = groupKeyChanges(events, this.#keys);
    this.#registryId = parseRegistryId(registry?.value) ?? this.#registryId;
    const ended: bigint[] = [];
    for (const { id, kv, isRemoval } of markers) {
      if (isRemoval) ended.push(this.#markers.recordRemoval(id) ?? 0n);
      else this.#markers.recordMarker(id, kv);
    }
    for (const { id, kv, isRemoval } of records) {
      const lease = this.#table.getSeenLease(id);
      const isLeaseEnd = isRemoval && lease !== undefined && ended.includes(lease);
      this.#table.observe(id, isRemoval ? undefined : kv, kv.modRevision, isLeaseEnd);
      this.#waits.check(id);
    }
    this.#recordEnds(ended);
    this.#table.forgetVanished(this.#mirror.revision);
    this.#catchUp.check();
  }

  #recordEnds(leases: readonly bigint[]): void {
    for (const lease of leases) {
      if (lease === this.#session.lease) this.#loseLease(lease);
      else if (!this.#ownLeases.has(lease)) this.#leaseEnds.record(lease);
    }
  }

  async #claimRegistryId(): Promise<void> {
    const id = this.#registryId ?? this.#options.ids.createRegistryId();
    try {
      this.#registryId = await claimRegistryId(this.#options.api, this.#keys.registry, id);
    } catch {
      // The next list tries again, or the watch tells the id of another server.
    }
  }

  #warn(problem: string): void {
    this.#options.events.emit({ kind: 'store_degraded', problem });
  }
}
