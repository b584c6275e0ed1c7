import { isNewerCordon } from '../../core/cordon.js';
import type { Replica } from '../../core/replica.js';
import { changeRegistration } from '../change-registration.js';
import type { ConditionalWrite } from './conditional-write.js';
import type { KeyState } from './key-state.js';
import { type RegistrationRecord, replaceCordon, serializeRecord } from './registration-record.js';

/** A write of a record. `record` is what a put writes. */
export type RecordWrite<R extends Replica> = ConditionalWrite & { readonly record?: RegistrationRecord<R> };

/** A revision that no key has: a write on this condition only reads. */
const NEVER = -1n;

/**
 * Returns the write that etcd needs so that a key has what this server knows. Undefined if there is none. `lease` is the
 * server's present etcd lease; without one, nothing can be put.
 */
export function findRecordWrite<R extends Replica>(
  state: KeyState<R>,
  key: Uint8Array,
  lease: bigint | undefined,
  isOwnLease: (lease: bigint) => boolean,
): RecordWrite<R> | undefined {
  const { own, seen, isLeft } = state;
  if (own) return lease === undefined ? undefined : findPut(state, key, lease);
  if (!seen) return undefined;
  // The revision guards the deletion: a newer registration, which this server has not seen yet, must stay.
  if (isOwnLease(seen.lease)) return isLeft ? undefined : { kind: 'delete', key, known: seen.modRevision };
  return findAmendment(state, key);
}

function findPut<R extends Replica>(
  { own, seen }: KeyState<R>,
  key: Uint8Array,
  lease: bigint,
): RecordWrite<R> | undefined {
  if (!own || own.rejectedChange === own.change) return undefined;
  const { registration, digest, change, committedAt: committed } = own;
  const present = seen?.record;
  const isWritten = seen?.lease === lease && present?.registration.lease === digest && present.change === change;
  const { cordon } = registration;
  if (isWritten && !(cordon && isNewerCordon(cordon, present.registration.cordon))) return undefined;
  const record = { registration: changeRegistration(registration, { lease: digest }), change, committed };
  const value = Buffer.from(serializeRecord(record));
  return { kind: 'put', key, value, lease, known: seen?.modRevision ?? NEVER, record };
}

function findAmendment<R extends Replica>(
  { seen, amendment }: KeyState<R>,
  key: Uint8Array,
): RecordWrite<R> | undefined {
  if (!amendment || !seen) return undefined;
  const { cordon } = amendment;
  // Texts are not kept in memory, and members that this version doesn't know must not be lost.
  if (seen.text === undefined) return { kind: 'amend', key, value: new Uint8Array(), known: NEVER };
  return { kind: 'amend', key, value: Buffer.from(replaceCordon(seen.text, cordon)), known: seen.modRevision };
}
