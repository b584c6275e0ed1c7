import { type Cordon, isNewerCordon } from '../../core/cordon.js';
import type { Replica } from '../../core/replica.js';
import { changeRegistration } from '../change-registration.js';
import { type ConditionalWrite, NEVER } from './conditional-write.js';
import type { KeyState, Seen } from './key-state.js';
import { type RegistrationRecord, replaceCordon, serializeRecord } from './registration-record.js';

/** A put of a record. `record` is what it writes. */
export type RecordPut<R extends Replica> = Extract<ConditionalWrite, { readonly kind: 'put' }> & {
  readonly record: RegistrationRecord<R>;
};

/** A write of a record. */
export type RecordWrite<R extends Replica> = RecordPut<R> | Exclude<ConditionalWrite, { readonly kind: 'put' }>;

type Amendment = Extract<ConditionalWrite, { readonly kind: 'amend' }>;

/**
 * Returns whether etcd needs a write so that a key has what this server knows. `lease` is the server's present etcd lease; without
 * one, nothing can be put. Much faster than to create the write, which serializes a record.
 */
export function needsWrite(
  { own, seen, isLeft, amendment }: KeyState,
  lease: bigint | undefined,
  isOwnLease: (lease: bigint) => boolean,
): boolean {
  if (own) return lease !== undefined && own.rejection?.change !== own.change && !isRecorded({ seen }, own, lease);
  if (!seen) return false;
  return isOwnLease(seen.lease) ? !isLeft : amendment !== undefined;
}

/** Returns the write that etcd needs: see {@link needsWrite}. Undefined if there is none. */
export function findRecordWrite<R extends Replica>(
  state: KeyState<R>,
  key: Uint8Array,
  lease: bigint | undefined,
  isOwnLease: (lease: bigint) => boolean,
): RecordWrite<R> | undefined {
  if (!needsWrite(state, lease, isOwnLease)) return undefined;
  const { own, seen, amendment } = state;
  if (own) return lease === undefined ? undefined : createPut(own, seen, key, lease);
  if (!seen) return undefined;
  // The revision guards the deletion: a newer registration, which this server has not seen yet, must stay.
  if (isOwnLease(seen.lease)) return { kind: 'delete', key, known: seen.modRevision };
  return amendment && createAmendment(seen, amendment.cordon, key);
}

/** Returns whether the record in etcd has the present state of the own registration, under the server's present etcd lease. */
export function isRecorded(
  { seen }: Pick<KeyState, 'seen'>,
  { registration: { cordon }, digest, change }: NonNullable<KeyState['own']>,
  lease: bigint | undefined,
): boolean {
  const present = seen?.record;
  const isWritten = seen?.lease === lease && present?.registration.lease === digest && present.change === change;
  return isWritten && !(cordon && isNewerCordon(cordon, present.registration.cordon));
}

function createPut<R extends Replica>(
  { registration, digest, change, committedAt: committed }: NonNullable<KeyState<R>['own']>,
  seen: Seen<R> | undefined,
  key: Uint8Array,
  lease: bigint,
): RecordPut<R> {
  const record = { registration: changeRegistration(registration, { lease: digest }), change, committed };
  const value = Buffer.from(serializeRecord(record));
  return { kind: 'put', key, value, lease, known: seen?.modRevision ?? NEVER, record };
}

function createAmendment({ text, modRevision }: Seen<Replica>, cordon: Cordon, key: Uint8Array): Amendment {
  // Texts are not kept in memory, and members that this version doesn't know must not be lost.
  if (text === undefined) return { kind: 'amend', key, value: new Uint8Array(), known: NEVER };
  return { kind: 'amend', key, value: Buffer.from(replaceCordon(text, cordon)), known: modRevision };
}
