import type { Compare, KeyValue, RequestOp, ResponseOp } from './gen/etcd.js';
import { Compare_CompareResult, Compare_CompareTarget } from './gen/etcd.js';

/**
 * A write of one key that etcd makes only if nobody else has written the key since `known`, its last known revision. `put`
 * also writes a key that doesn't exist. `amend` keeps the lease that the key has.
 */
export type ConditionalWrite =
  | {
      readonly kind: 'put';
      readonly key: Uint8Array;
      readonly value: Uint8Array;
      readonly lease: bigint;
      readonly known: bigint;
    }
  | { readonly kind: 'amend'; readonly key: Uint8Array; readonly value: Uint8Array; readonly known: bigint }
  | { readonly kind: 'delete'; readonly key: Uint8Array; readonly known: bigint };

/** Outcome of a conditional write: it was made, or else the present state of the key. */
export type WriteOutcome =
  | { readonly kind: 'written' }
  | { readonly kind: 'found'; readonly present: KeyValue | undefined };

const NO_BYTES = new Uint8Array();

/** A revision that no key has. A put that knows only this writes only an absent key, and any other write only reads. */
export const NEVER = -1n;

/**
 * Converts a write to a nested transaction. Each write of a batch has its own conditions. One transaction with the conditions
 * of all would write nothing if a single record belonged to somebody else.
 */
export function toOperation(write: ConditionalWrite): RequestOp {
  const { key, known } = write;
  const read: RequestOp = range(key);
  const isKnown: Compare = {
    result: Compare_CompareResult.EQUAL,
    target: Compare_CompareTarget.MOD,
    key,
    targetUnion: { $case: 'modRevision', value: known },
  };
  if (write.kind !== 'put') return nest(isKnown, toChange(write), read);
  const attempt = known === NEVER ? read : nest(isKnown, toChange(write), read);
  const isAbsent: Compare = {
    result: Compare_CompareResult.EQUAL,
    target: Compare_CompareTarget.VERSION,
    key,
    targetUnion: { $case: 'version', value: 0n },
  };
  return nest(isAbsent, toChange(write), attempt);
}

/** Returns the size of the values in the operation of a write, in bytes. A put of a known key has its value twice. */
export function countValueBytes(write: ConditionalWrite): number {
  if (write.kind === 'delete') return 0;
  const { length } = write.value;
  return write.kind === 'put' && write.known !== NEVER ? 2 * length : length;
}

function toChange(write: ConditionalWrite): RequestOp {
  const { key } = write;
  switch (write.kind) {
    case 'put':
      return put({ key, value: write.value, lease: write.lease, ignoreLease: false });
    case 'amend':
      return put({ key, value: write.value, lease: 0n, ignoreLease: true });
    case 'delete':
      return { request: { $case: 'requestDeleteRange', value: { key } } };
    default:
      return write satisfies never;
  }
}

/** Creates the operation that writes a key. */
export function put(value: {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly ignoreLease: boolean;
}): RequestOp {
  return { request: { $case: 'requestPut', value } };
}

function range(key: Uint8Array): RequestOp {
  return { request: { $case: 'requestRange', value: { key, rangeEnd: NO_BYTES, limit: 0n, revision: 0n } } };
}

function nest(compare: Compare, success: RequestOp, failure: RequestOp): RequestOp {
  return { request: { $case: 'requestTxn', value: { compare: [compare], success: [success], failure: [failure] } } };
}

/** Reads the outcome of a write from the response to its operation. */
export function readOutcome(response: ResponseOp | undefined): WriteOutcome {
  const answer = response?.response;
  if (answer?.$case === 'responseTxn') return readOutcome(answer.value.responses[0]);
  if (answer?.$case === 'responseRange') return { kind: 'found', present: answer.value.kvs[0] };
  return { kind: 'written' };
}
