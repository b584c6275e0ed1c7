import type { LeaseId, RegistryId, ReplicaId } from '../../core/ids.js';
import type { Clock, Events, Ids, Random, RegistrationStore, RegistryEvent, StoreEvent } from '../../core/ports.js';
import type { LeaseEnd, Registration, RegistrationChange, Replica } from '../../core/replica.js';
import { BatchWriter } from './batch-writer.js';
import type { WriteOutcome } from './conditional-write.js';
import type { EtcdApi, EtcdError } from './etcd-api.js';
import { EtcdKeys } from './etcd-keys.js';
import { EtcdMirror } from './etcd-mirror.js';
import { EtcdSession } from './etcd-session.js';
import { type Event, Event_EventType, type KeyValue } from './gen/etcd.js';
import { LeaseEnds } from './lease-ends.js';
import { ProblemMonitor } from './problem-monitor.js';
import { RecordTable } from './record-table.js';
import type { RecordWrite } from './record-write.js';
import { claimRegistryId, parseRegistryId } from './registry-id.js';
import { ServerMarkers } from './server-markers.js';
import { SettledWaits } from './settled-waits.js';

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

/** Maximum size of a record, in bytes. A batch has room for four. */
const MAX_RECORD_BYTES = 256 * 1024;

/** Maximum number of remembered leases of this server. */
const MAX_OWN_LEASES = 1000;

/**
 * Keeps registrations in etcd, for several API servers. Each server has a copy of all in memory and answers from it. Its own
 * registrations are always there, whether etcd can be reached or not; they are written when it can. See README.md.
 */
export class EtcdStore<R extends Replica> implements RegistrationStore<R> {
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
  readonly #monitor: ProblemMonitor;
  #registryId: RegistryId | undefined;
  #start: Promise<void> | undefined;
  #finishStart = (): void => {};
  #writeProblem: string | undefined;
  #isClosed = false;

  constructor(options: EtcdStoreOptions<R>) {
    this.#options = options;
    const { api, prefix, clock, random, ids, events } = options;
    this.#keys = new EtcdKeys(prefix);
    this.#table = this.#createTable();
    this.#session = new EtcdSession({ api, clock, random, onLease: (lease) => this.#useLease(lease) });
    const listener: ConstructorParameters<typeof EtcdMirror>[0]['listener'] = {
      onList: (kvs, revision, facts) => this.#applyList(kvs, revision, facts),
      onChanges: (events) => this.#applyChanges(events),
    };
    this.#mirror = new EtcdMirror({ api, keys: this.#keys.range, clock, random, listener });
    this.#writer = this.#createWriter();
    const id = ids.createServerId();
    this.#markers = new ServerMarkers({
      api,
      clock,
      id,
      key: this.#keys.forServer(id),
      getLease: () => this.#session.lease,
      onLeaseLost: (lease) => this.#loseLease(lease),
      onWatchBehind: () => this.#mirror.restart(),
    });
    this.#leaseEnds = new LeaseEnds({
      clock,
      countServers: () => this.#markers.count,
      isFollowing: () => this.#markers.isFresh,
      setSuspect: (lease, isSuspect) => this.#table.setOrphansSuspect(lease, isSuspect),
      drop: (lease) => this.#table.dropOrphans(lease),
    });
    this.#monitor = new ProblemMonitor({ clock, events, listProblems: () => this.listProblems() });
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

  /** Returns what doesn't work at present. Registrations are accepted and calls are routed all the same. */
  listProblems(): string[] {
    const { problem = this.#mirror.problem } = this.#session;
    const [[id, reason] = []] = this.#table.rejected;
    const { size } = this.#table.rejected;
    return [
      ...(problem === undefined ? [] : [`etcd can't be used: ${problem}`]),
      ...(problem === undefined && this.#markers.isStale
        ? [`the replicas of other API servers are ${this.#formatAge()}`]
        : []),
      ...(this.#writeProblem === undefined ? [] : [`etcd doesn't accept writes: ${this.#writeProblem}`]),
      ...(id === undefined
        ? []
        : [`${size} registrations are only in this API server, such as ${JSON.stringify(id)}: ${reason}`]),
    ];
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
    });
    return this.#start;
  }

  /** Resolves when the registration is in etcd, or after 1 s: until then it is in this server only. */
  async put(registration: Registration<R>): Promise<void> {
    if (this.#isClosed) return;
    this.#table.put(registration);
    await this.#waits.wait(registration.replica.id);
  }

  /** Resolves at once: the owner's renewals must not wait for etcd. */
  async change(lease: LeaseId, change: RegistrationChange<R>): Promise<void> {
    if (!this.#isClosed) this.#table.change(lease, change);
  }

  async delete(lease: LeaseId, end: LeaseEnd): Promise<void> {
    const id = this.#isClosed ? undefined : this.#table.delete(lease, end);
    if (id !== undefined && end !== 'shutdown') await this.#waits.wait(id);
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
    for (const part of [this.#monitor, this.#markers, this.#leaseEnds, this.#writer, this.#mirror, this.#session])
      part.close();
    this.#waits.close();
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
      notify: (event) => {
        for (const listener of this.#listeners) listener(event);
      },
      onUnsettled: (id) => this.#writer.add(id),
      onUnreadable: (id, problem) => this.#warn(`ignored the record of ${JSON.stringify(id)} in etcd: ${problem}`),
    });
  }

  #createWriter(): BatchWriter<ReplicaId, RecordWrite<R>> {
    const { api, clock, random } = this.#options;
    return new BatchWriter({
      api,
      clock,
      random,
      findWrite: (id) => this.#findWrite(id),
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
    this.#table.recordRejection(id, reason);
    this.#warn(`the registration of ${JSON.stringify(id)} is only in this API server: ${reason}`);
    this.#waits.check(id);
  }

  #recordOutcome(id: ReplicaId, write: RecordWrite<R>, outcome: WriteOutcome, revision: bigint): void {
    this.#writeProblem = undefined;
    this.#table.recordOutcome(id, write, outcome, revision);
    this.#waits.check(id);
  }

  #recordFailure(error: EtcdError, writes: Iterable<RecordWrite<R>>): void {
    if (error.kind === 'lease_lost') for (const write of writes) if (write.kind === 'put') this.#loseLease(write.lease);
    // Anything else is also seen by the session.
    if (error.kind === 'no_space') this.#writeProblem = error.message;
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
    return this.#session.lease !== undefined && this.#table.findWrite(id, this.#session.lease) === undefined;
  }

  #applyList(
    kvs: readonly KeyValue[],
    revision: bigint,
    { ageMs, isReset }: { readonly ageMs: number; readonly isReset: boolean },
  ): void {
    const records = new Map<ReplicaId, KeyValue>();
    const servers = new Map<string, bigint>();
    let registry: KeyValue | undefined;
    for (const kv of kvs) {
      const key = this.#keys.parse(kv.key);
      if (key?.kind === 'replica') records.set(key.id, kv);
      else if (key?.kind === 'server') servers.set(key.id, kv.lease);
      else if (key) registry = kv;
    }
    if (isReset) this.#table.reset();
    const ended = this.#markers.recordList(servers, ageMs);
    this.#table.observeList(records, revision, (lease) => ended.includes(lease));
    this.#recordEnds(ended);
    this.#registryId = parseRegistryId(registry?.value) ?? this.#registryId;
    if (!registry) void this.#claimRegistryId();
    this.#finishStart();
  }

  /** Applies complete revisions. `/route` sees nothing in between, because nothing here waits. */
  #applyChanges(events: readonly Event[]): void {
    const ended: bigint[] = [];
    const changes = events.flatMap(({ type, kv }) => {
      const key = kv && this.#keys.parse(kv.key);
      return key ? [{ key, kv, isRemoval: type === Event_EventType.DELETE }] : [];
    });
    for (const { key, kv, isRemoval } of changes) {
      if (key.kind === 'registry' && !isRemoval) this.#registryId = parseRegistryId(kv.value) ?? this.#registryId;
      if (key.kind !== 'server') continue;
      if (!isRemoval) this.#markers.recordMarker(key.id, kv.lease, kv.value);
      else ended.push(this.#markers.recordRemoval(key.id) ?? 0n);
    }
    for (const { key, kv, isRemoval } of changes) {
      if (key.kind !== 'replica') continue;
      const lease = this.#table.getSeenLease(key.id);
      const isLeaseEnd = isRemoval && lease !== undefined && ended.includes(lease);
      this.#table.observe(key.id, isRemoval ? undefined : kv, kv.modRevision, isLeaseEnd);
    }
    this.#recordEnds(ended);
    this.#table.forgetVanished(this.#mirror.revision);
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

  #formatAge(): string {
    const { stalenessMs } = this.#markers;
    return Number.isFinite(stalenessMs) ? `as they were ${Math.round(stalenessMs / 1000)} s ago` : 'not known yet';
  }
}
