import type { LeaseId, ReplicaId } from '../../core/ids.js';
import type { CanReplace, StoreEvent } from '../../core/ports.js';
import type { LeaseEnd, Registration, RegistrationChange, Replica } from '../../core/replica.js';
import { changeRegistration } from '../change-registration.js';
import type { WriteOutcome } from './conditional-write.js';
import type { EtcdKeys } from './etcd-keys.js';
import type { KeyValue } from './gen/etcd.js';
import {
  adoptSeen,
  chooseShown,
  createKeyState,
  createOwn,
  isAmended,
  isSameRegistration,
  type KeyState,
  type Own,
  type ReadRecord,
  readSeen,
} from './key-state.js';
import { findRecordWrite, isRecorded, needsWrite, type RecordWrite } from './record-write.js';

/** Dependencies of a table of records. */
export interface RecordTableOptions<R extends Replica> {
  readonly keys: Pick<EtcdKeys, 'forReplica'>;
  /** Creates a replica of the registry's type. */
  readonly createReplica: (replica: Replica) => R;
  /** Returns whether an etcd lease is, or was, one of this server. */
  readonly isOwnLease: (lease: bigint) => boolean;
  readonly notify: (event: StoreEvent<R>) => void;
  /** Called when a key can need a write: see {@link RecordTable.findWrite}. */
  readonly onUnsettled: (id: ReplicaId) => void;
  /** Called for a record that this version can't read. */
  readonly onUnreadable: (id: ReplicaId, problem: string) => void;
}

/**
 * The knowledge of this server about each replica id: its own registration, and the newest record that it has seen in etcd. From
 * these two follow the registration that subscribers have, and the write that etcd needs. No pending operation is remembered, so it
 * does not matter which writes failed, were repeated, or were made after their deadline.
 */
export class RecordTable<R extends Replica> {
  readonly #options: RecordTableOptions<R>;
  readonly #states = new Map<ReplicaId, KeyState<R>>();
  /** Ids of the shown registrations. */
  readonly #byLease = new Map<LeaseId, ReplicaId>();
  /** Ids of which nothing is known but the revision. They are forgotten when the watch has passed it. */
  readonly #vanished = new Set<ReplicaId>();
  /** Records of lists that are not complete, and the registration that subscribers had when each was read. */
  readonly #prepared = new WeakMap<
    KeyValue,
    { readonly shown: Registration<R> | undefined; readonly read: ReadRecord<R> }
  >();
  /** Revision of the last complete list. */
  #listRevision = 0n;

  constructor(options: RecordTableOptions<R>) {
    this.#options = options;
  }

  /** Returns the registrations that subscribers have. */
  *listShown(): Generator<Registration<R>> {
    for (const { shown } of this.#states.values()) if (shown) yield shown;
  }

  /** Returns the registration that subscribers have with a lease, as its record names it. */
  find(lease: LeaseId): Registration<R> | undefined {
    return this.#findState(lease)?.shown;
  }

  /** Returns the registration of an id that subscribers have. */
  get(id: ReplicaId): Registration<R> | undefined {
    return this.#states.get(id)?.shown;
  }

  /** Registers a replica of this server. The result says later whether the registration was refused. */
  put(registration: Registration<R>, canReplace?: CanReplace): Pick<Own<R>, 'isRefused'> {
    const state = this.#getState(registration.replica.id);
    const own = createOwn(registration, canReplace);
    state.own = own;
    this.#reconcile(state);
    return own;
  }

  /** Changes a registration. Of another server's registration it changes only the cordon: that server has the rest. */
  change(lease: LeaseId, change: RegistrationChange<R>): void {
    const state = this.#findState(lease);
    if (!state) return;
    const { own } = state;
    if (own?.registration.lease === lease) {
      const { cordon: _cordon, ...others } = change;
      own.registration = changeRegistration(own.registration, change);
      if (Object.keys(others).length > 0) own.change++;
    } else if (change.cordon) state.amendment = { lease, cordon: change.cordon };
    this.#reconcile(state);
  }

  /**
   * Ends a registration of this server, and returns its id. At a shutdown the record stays in etcd: the replica overwrites it at the
   * server at which it registers next, without a moment of absence.
   */
  delete(lease: LeaseId, end: LeaseEnd): ReplicaId | undefined {
    const state = this.#findState(lease);
    if (state?.own?.registration.lease !== lease) return undefined;
    state.own = undefined;
    state.isLeft = end === 'shutdown';
    this.#show(state, undefined, end);
    this.#reconcile(state);
    return state.id;
  }

  /** Parses a record of a list whose other records have not arrived yet, so that {@link observeList} has less to do at once. */
  prepare(id: ReplicaId, kv: KeyValue): void {
    const { seen, shown } = this.#states.get(id) ?? {};
    if (seen?.modRevision === kv.modRevision) return;
    this.#prepared.set(kv, { shown, read: readSeen(kv, { id, shown }, this.#options.createReplica) });
  }

  /** Records the state of a key at a revision. `isLeaseEnd`: it is absent because the lease of its server ended. */
  observe(id: ReplicaId, kv: KeyValue | undefined, revision: bigint, isLeaseEnd = false): void {
    if (revision <= this.#listRevision) return;
    const state = this.#getState(id);
    const { seen: previous } = state;
    if (kv && previous?.modRevision === kv.modRevision) {
      this.#keepText(state, kv, revision);
      return;
    }
    if (revision <= state.floor) return;
    state.floor = revision;
    if (kv) {
      const { seen, problem } = this.#read(kv, state);
      state.seen = seen;
      if (!state.amendment) seen.text = undefined;
      if (problem !== undefined) this.#options.onUnreadable(id, problem);
      state.orphan = undefined;
    } else {
      const isShown = previous?.record && !this.#options.isOwnLease(previous.lease);
      if (isLeaseEnd && isShown) state.orphan = { lease: previous.lease, registration: previous.record.registration };
      state.isOrphanSuspect = false;
      state.seen = undefined;
    }
    this.#reconcile(state);
  }

  /**
   * Records a complete list at a revision. Records that it doesn't have are gone. `isEnded` returns whether an etcd lease with
   * which a missing record was seen has ended.
   */
  observeList(records: ReadonlyMap<ReplicaId, KeyValue>, revision: bigint, isEnded: (lease: bigint) => boolean): void {
    if (revision <= this.#listRevision) return;
    for (const [id, kv] of records) {
      const state = this.#states.get(id);
      // Most records of a list are known.
      if (state?.seen?.modRevision !== kv.modRevision || state.amendment) this.observe(id, kv, revision);
    }
    for (const { id, seen } of [...this.#states.values()]) {
      if (!records.has(id)) this.observe(id, undefined, revision, seen !== undefined && isEnded(seen.lease));
    }
    this.#listRevision = revision;
    this.forgetVanished(revision);
  }

  /** Records the outcome of a write that {@link findWrite} returned. */
  recordOutcome(id: ReplicaId, write: RecordWrite<R>, outcome: WriteOutcome, revision: bigint): void {
    if (outcome.kind === 'found') this.observe(id, outcome.present, revision);
    else if (write.kind === 'delete') this.observe(id, undefined, revision);
    else this.#recordWritten(this.#getState(id), write, revision);
    const state = this.#states.get(id);
    if (!state) return;
    if (state.own) state.own.put = undefined;
    this.#reconcile(state);
  }

  /**
   * Records that etcd doesn't accept the present state of an own registration. It stays in this server. `revision`: the last one that the
   * mirror has.
   */
  recordRejection(id: ReplicaId, reason: string, revision: bigint): void {
    const own = this.#states.get(id)?.own;
    if (!own) return;
    own.rejection = { change: own.change, reason };
    own.rejectedAt ??= revision;
    // A record that is too large must not stay in memory as text.
    own.put = undefined;
  }

  /** Returns the write that etcd needs for an id, to be sent now: see {@link findRecordWrite}. */
  findWrite(id: ReplicaId, lease: bigint | undefined): RecordWrite<R> | undefined {
    const state = this.#states.get(id);
    const write = state && findRecordWrite(state, this.#options.keys.forReplica(id), lease, this.#options.isOwnLease);
    if (state?.own && write?.kind === 'put') state.own.put = write;
    return write;
  }

  /** Returns whether etcd needs a write for an id. */
  needsWrite(id: ReplicaId, lease: bigint | undefined): boolean {
    const state = this.#states.get(id);
    return state !== undefined && needsWrite(state, lease, this.#options.isOwnLease);
  }

  /** Returns the lease of an own registration; undefined if there is none. */
  getOwnLease(id: ReplicaId): LeaseId | undefined {
    return this.#states.get(id)?.own?.registration.lease;
  }

  /** Returns whether etcd has the present state of an own registration, as far as it knows. Undefined if there is none. */
  isRecorded(id: ReplicaId, lease: bigint | undefined): boolean | undefined {
    const state = this.#states.get(id);
    return state?.own && isRecorded(state, state.own, lease);
  }

  /** Returns why etcd doesn't accept the present state of an own registration; undefined if it has not refused it. */
  findRejection(id: ReplicaId): string | undefined {
    const own = this.#states.get(id)?.own;
    return own?.rejection?.change === own?.change ? own?.rejection?.reason : undefined;
  }

  /** Returns the etcd lease with which a record was seen; undefined if there is none. */
  getSeenLease(id: ReplicaId): bigint | undefined {
    return this.#states.get(id)?.seen?.lease;
  }

  /** Returns whether etcd has a record of this server, as far as it knows. */
  hasOwnRecords(): boolean {
    const { isOwnLease } = this.#options;
    for (const { seen } of this.#states.values()) if (seen && isOwnLease(seen.lease)) return true;
    return false;
  }

  /** Shows the replicas of a server whose lease ended as suspects, or as they were. */
  setOrphansSuspect(lease: bigint, isSuspect: boolean): void {
    for (const state of this.#listOrphans(lease)) {
      state.isOrphanSuspect = isSuspect;
      this.#reconcile(state);
    }
  }

  /** Removes the replicas of a server whose lease ended, except those that have been registered again. */
  dropOrphans(lease: bigint): void {
    for (const state of this.#listOrphans(lease)) {
      state.orphan = undefined;
      this.#reconcile(state);
    }
  }

  /** Forgets all revisions, because etcd was replaced or restored. Own registrations count as never committed. */
  reset(): void {
    this.#listRevision = 0n;
    for (const state of this.#states.values()) {
      state.floor = 0n;
      // Revisions of another cluster say nothing, and it can accept what the last one did not.
      if (state.own) Object.assign(state.own, { committedAt: undefined, rejection: undefined, rejectedAt: undefined });
      if (state.seen) state.seen = { ...state.seen, modRevision: -1n };
    }
  }

  /** Checks every key for a write again, for example because this server has a new lease. */
  reconcileAll(): void {
    for (const state of [...this.#states.values()]) this.#reconcile(state);
  }

  /** Forgets ids without a record whose revisions the watch has passed. */
  forgetVanished(watchedRevision: bigint): void {
    for (const id of this.#vanished) {
      const state = this.#states.get(id);
      if (state && !isVanished(state)) this.#vanished.delete(id);
      else if (!state || state.floor <= watchedRevision) {
        this.#states.delete(id);
        this.#vanished.delete(id);
      }
    }
  }

  /** Reads a record, unless it was prepared, or is the one that this server has just put: the watch can be faster than the response. */
  #read(kv: KeyValue, { id, own, shown }: KeyState<R>): ReadRecord<R> {
    const { lease, value, modRevision } = kv;
    const put = own?.put;
    if (put?.lease === lease && Buffer.compare(put.value, value) === 0) {
      return { seen: { modRevision, lease, record: put.record, text: undefined } };
    }
    const prepared = this.#prepared.get(kv);
    return prepared && prepared.shown === shown
      ? prepared.read
      : readSeen(kv, { id, shown }, this.#options.createReplica);
  }

  /** An amendment needs the text of a record that is known otherwise. */
  #keepText(state: KeyState<R>, kv: KeyValue, revision: bigint): void {
    if (revision > state.floor) state.floor = revision;
    if (state.amendment && state.seen) state.seen.text = Buffer.from(kv.value).toString();
  }

  #recordWritten(state: KeyState<R>, write: Exclude<RecordWrite<R>, { kind: 'delete' }>, revision: bigint): void {
    const { key, value } = write;
    if (write.kind === 'put' && revision > state.floor) {
      state.floor = revision;
      state.orphan = undefined;
      state.seen = { modRevision: revision, lease: write.lease, record: write.record, text: undefined };
      return;
    }
    const lease = write.kind === 'put' ? write.lease : (state.seen?.lease ?? 0n);
    this.observe(state.id, { key, value, lease, modRevision: revision, createRevision: 0n, version: 0n }, revision);
  }

  /** Brings the shown registration of a key up to date, and reports a key that can need a write. */
  #reconcile(state: KeyState<R>): void {
    const { id } = state;
    const { isOwnLease, onUnsettled } = this.#options;
    adoptSeen(state, isOwnLease);
    if (state.amendment && !isAmended(state)) state.amendment = undefined;
    this.#show(state, chooseShown(state, isOwnLease), undefined);
    if (state.own || state.amendment || (state.seen && isOwnLease(state.seen.lease))) onUnsettled(id);
    else if (isVanished(state)) this.#vanished.add(id);
  }

  #show(state: KeyState<R>, next: Registration<R> | undefined, end: LeaseEnd | undefined): void {
    const { shown: previous, id } = state;
    const isUnchanged = next && previous ? isSameRegistration(next, previous) : next === previous;
    if (isUnchanged) return;
    state.shown = next;
    if (previous && previous.lease !== next?.lease) this.#byLease.delete(previous.lease);
    if (next) this.#byLease.set(next.lease, id);
    const { notify } = this.#options;
    if (next) notify({ kind: next.lease === previous?.lease ? 'change' : 'put', registration: next });
    else if (previous) notify({ kind: 'delete', lease: previous.lease, replicaId: id, end });
  }

  *#listOrphans(lease: bigint): Generator<KeyState<R>> {
    for (const state of [...this.#states.values()]) if (state.orphan?.lease === lease) yield state;
  }

  #findState(lease: LeaseId): KeyState<R> | undefined {
    const id = this.#byLease.get(lease);
    return id === undefined ? undefined : this.#states.get(id);
  }

  #getState(id: ReplicaId): KeyState<R> {
    let state = this.#states.get(id);
    if (!state) {
      state = createKeyState(id);
      this.#states.set(id, state);
    }
    return state;
  }
}

function isVanished({ own, seen, orphan }: KeyState): boolean {
  return !own && !seen && !orphan;
}
