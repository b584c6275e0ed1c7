import { type Cordon, isNewerCordon, isSameCordon } from '../../core/cordon.js';
import type { LeaseId, ReplicaId } from '../../core/ids.js';
import type { CanReplace } from '../../core/ports.js';
import { isSameInstance, type Registration, type Replica } from '../../core/replica.js';
import { changeRegistration } from '../change-registration.js';
import type { KeyValue } from './gen/etcd.js';
import { digestLease, parseRecord, type RegistrationRecord } from './registration-record.js';

/** The knowledge of this server about one replica id. */
export interface KeyState<R extends Replica = Replica> {
  readonly id: ReplicaId;
  /** The registration whose lease this server granted. */
  own: Own<R> | undefined;
  /** The record in etcd. */
  seen: Seen<R> | undefined;
  /** Revision of the newest knowledge of the record. Older ones are ignored: responses and the watch can overtake each other. */
  floor: bigint;
  /** A record that went with the lease of its server, while it is still shown. */
  orphan: { readonly lease: bigint; readonly registration: Registration<R> } | undefined;
  isOrphanSuspect: boolean;
  /** A newer cordon for the seen record of another server. */
  amendment: { readonly lease: LeaseId; readonly cordon: Cordon } | undefined;
  /** Whether the own record stays in etcd although the registration ended, because this server shuts down. */
  isLeft: boolean;
  /** The registration that subscribers have. */
  shown: Registration<R> | undefined;
}

/** A registration of this server. */
export interface Own<R extends Replica> {
  registration: Registration<R>;
  /** Stands for its lease in etcd. */
  readonly digest: LeaseId;
  /** Number of its changes. A cordon is none, because other servers change it too. */
  change: number;
  /** Revision at which it was committed first. Undefined until this server knows that it was. */
  committedAt: bigint | undefined;
  /** The number of the last change that etcd doesn't accept, and the reason. */
  rejection: { readonly change: number; readonly reason: string } | undefined;
  /** Last revision that the mirror had when etcd first did not accept it. */
  rejectedAt: bigint | undefined;
  /** Returns whether it can replace a registration that is found in etcd before its first commit. Undefined: it can replace any. */
  canReplace: CanReplace | undefined;
  /** Whether it ended because it can't replace the present registration. */
  isRefused: boolean;
  /** The put whose outcome is unknown. */
  put: { readonly lease: bigint; readonly value: Uint8Array; readonly record: RegistrationRecord<R> } | undefined;
}

/** A record as it was seen in etcd. */
export interface Seen<R extends Replica> {
  readonly modRevision: bigint;
  /** The etcd lease of the server that wrote it. */
  readonly lease: bigint;
  /** Undefined if this version can't read it. */
  readonly record: RegistrationRecord<R> | undefined;
  /** Its text, if an amendment needs it. */
  text: string | undefined;
}

/** A record that was read. `problem`: why this version can't read it. */
export interface ReadRecord<R extends Replica> {
  readonly seen: Seen<R>;
  readonly problem?: string;
}

/** Creates the state of an id of which nothing is known. */
export function createKeyState<R extends Replica>(id: ReplicaId): KeyState<R> {
  return {
    id,
    own: undefined,
    seen: undefined,
    floor: 0n,
    orphan: undefined,
    isOrphanSuspect: false,
    amendment: undefined,
    isLeft: false,
    shown: undefined,
  };
}

/** Creates a new registration of this server. */
export function createOwn<R extends Replica>(
  registration: Registration<R>,
  canReplace: CanReplace | undefined,
): Own<R> {
  const digest = digestLease(registration.lease);
  return {
    registration,
    digest,
    change: 0,
    committedAt: undefined,
    rejection: undefined,
    rejectedAt: undefined,
    canReplace,
    isRefused: false,
    put: undefined,
  };
}

/**
 * Reads a record. Reuses the replica of the registration that subscribers have if it is equal: an owner that writes the same record
 * again under a new lease changes nothing, also after etcd had ended the old lease and deleted the record.
 */
export function readSeen<R extends Replica>(
  kv: KeyValue,
  { id, shown }: Pick<KeyState<R>, 'id' | 'shown'>,
  createReplica: (replica: Replica) => R,
): ReadRecord<R> {
  const { modRevision, lease } = kv;
  const text = Buffer.from(kv.value).toString();
  const parsed = parseRecord(text, createReplica);
  const record = typeof parsed === 'string' ? parsed : (findIdProblem(parsed, id) ?? parsed);
  if (typeof record === 'string') return { seen: { modRevision, lease, record: undefined, text }, problem: record };
  const { registration } = record;
  const isSame = shown !== undefined && isSameReplica(shown.replica, registration.replica);
  const reused = isSame ? changeRegistration(registration, { replica: shown.replica }) : registration;
  return { seen: { modRevision, lease, record: { ...record, registration: reused }, text } };
}

/** Returns a problem if a record is at the key of another id. It would replace the registration of that id, and never leave. */
function findIdProblem({ registration: { replica } }: RegistrationRecord, id: ReplicaId): string | undefined {
  return replica.id === id ? undefined : `it is a record of ${JSON.stringify(replica.id)}`;
}

function isSameReplica(a: Replica, b: Replica): boolean {
  if (a.endpoint !== b.endpoint || a.capabilities.length !== b.capabilities.length) return false;
  return a.capabilities.every(({ source }, index) => source === b.capabilities[index]?.source);
}

/**
 * Learns from the seen record. If it is the own registration, takes its revision and a newer cordon. If it is a newer
 * registration, or one that the own one can't replace, ends the own one. A record under one of this server's own leases is never
 * newer: the server has written it.
 */
export function adoptSeen<R extends Replica>(state: KeyState<R>, isOwnLease: (lease: bigint) => boolean): void {
  const { own, seen } = state;
  if (!own || !seen) return;
  if (own.canReplace && !isOwnLease(seen.lease))
    own.isRefused = !seen.record || !own.canReplace(seen.record.registration);
  if (own.isRefused) state.own = undefined;
  if (own.isRefused || !seen.record) return;
  const { registration, committed } = seen.record;
  if (registration.lease === own.digest) {
    own.committedAt ??= committed ?? seen.modRevision;
    own.canReplace = undefined;
    if (registration.cordon && isNewerCordon(registration.cordon, own.registration.cordon)) {
      own.registration = changeRegistration(own.registration, { cordon: registration.cordon });
    }
  } else if (!isOwnLease(seen.lease) && outranks(seen.record, seen.modRevision, own)) state.own = undefined;
}

/**
 * Returns whether a record is newer than the own registration. Of one process, the higher number counts, in any order of
 * arrival. Otherwise the later first commit counts. A registration that was never committed will be committed later, unless etcd
 * does not accept it: then a record that was committed after that is newer.
 */
function outranks({ registration, committed }: RegistrationRecord, modRevision: bigint, own: Own<Replica>): boolean {
  const [its, mine] = [registration.instance, own.registration.instance];
  if (its && mine && isSameInstance(its, mine) && its.seq !== mine.seq) return its.seq > mine.seq;
  const atRevision = own.committedAt ?? own.rejectedAt;
  return atRevision !== undefined && (committed ?? modRevision) > atRevision;
}

/**
 * Returns the registration to show: the own one, else the record, else the one whose server has lost its lease. A record
 * under one of this server's own leases that is not its own registration has ended, and only waits for its deletion.
 */
export function chooseShown<R extends Replica>(
  { own, seen, orphan, amendment, isOrphanSuspect }: KeyState<R>,
  isOwnLease: (lease: bigint) => boolean,
): Registration<R> | undefined {
  if (own) return own.registration;
  if (seen) {
    if (!seen.record || isOwnLease(seen.lease)) return undefined;
    const { registration } = seen.record;
    return amendment ? changeRegistration(registration, { cordon: amendment.cordon }) : registration;
  }
  if (!orphan) return undefined;
  const isDemoted = isOrphanSuspect && orphan.registration.state === 'ready';
  return isDemoted ? changeRegistration(orphan.registration, { state: 'suspect' }) : orphan.registration;
}

/** Returns whether an amendment changes the record: its registration is still there, and its cordon is older. */
export function isAmended({ seen, amendment }: KeyState): boolean {
  const registration = seen?.record?.registration;
  if (!amendment || registration?.lease !== amendment.lease) return false;
  return isNewerCordon(amendment.cordon, registration.cordon);
}

/** Returns whether two registrations are equal, given that equal parts are the same objects. */
export function isSameRegistration<R extends Replica>(a: Registration<R>, b: Registration<R>): boolean {
  return (
    a.lease === b.lease &&
    a.replica === b.replica &&
    a.state === b.state &&
    a.sinceEpochMs === b.sinceEpochMs &&
    a.instance?.id === b.instance?.id &&
    a.instance?.seq === b.instance?.seq &&
    isSameCordon(a.cordon, b.cordon) &&
    a.weight === b.weight &&
    a.owner === b.owner &&
    a.ownerUrl === b.ownerUrl
  );
}
