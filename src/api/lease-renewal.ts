import type { Capability } from '../core/capability.js';
import type { Cordon } from '../core/cordon.js';
import type { ReplicaLoad } from '../core/load.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { parseBodyObject } from './body-object.js';
import { parseCordon, serializeCordon, toCordon } from './cordon-json.js';
import { parseSeq } from './instance-json.js';
import { parseLoad, serializeLoad } from './load-json.js';
import { parseCapabilityObjects, parseDeclaredState, REGISTRATION_LIMITS } from './registration.js';
import { SerializedReplica } from './serialized-replica.js';
import type { ValidationFailure, ValidationIssue } from './validation-issues.js';

/** Response header with the lease id. It is sent on the stream of a two-way lease. */
export const LEASE_HEADER = 'x-anyserve-lease';

/** The changes that a replica reports when it renews its lease. */
export interface RenewalReport {
  /** Default: unchanged. */
  readonly state?: DeclaredState | undefined;
  /** The capabilities that replace the previous ones. Default: unchanged. */
  readonly capabilities?: readonly Capability[] | undefined;
  /** Number of the last change by the replica's process. A renewal with a lower number than an earlier one changes nothing. */
  readonly seq?: number | undefined;
  /** The newest cordon of the replica id, if the server doesn't know it. */
  readonly cordon?: Cordon | undefined;
  /** The load, if it is known. */
  readonly load?: ReplicaLoad | undefined;
}

/** A valid renewal, or the issues of an invalid one. */
export type RenewalOutcome = ({ readonly kind: 'renewal' } & RenewalReport) | ValidationFailure;

/** Maximum length of the body that nearly all renewals have. Matching it avoids parsing. */
const MAX_READY_BODY = 160;
const READY_BODY =
  /^\{"state":"ready"(?:,"seq":(\d{1,15}))?(?:,"load":\{"running":(\d{1,9}),"waiting":(\d{1,9})(?:,"limit":(\d{1,9}))?\})?\}$/;

/**
 * Parses the body of `PUT /leases/{lease}`: empty, or an object with `state`, `capabilities`, `seq`, `cordon` and `load`,
 * each optional. Other keys are ignored.
 */
export function parseRenewal(body: string): RenewalOutcome {
  const ready = body.length <= MAX_READY_BODY ? READY_BODY.exec(body) : null;
  if (ready) return { kind: 'renewal', state: 'ready', seq: toNumber(ready[1]), load: toReadyLoad(ready) };
  if (body.trim() === '') return { kind: 'renewal' };
  const parsed = parseBodyObject(body, REGISTRATION_LIMITS);
  if (parsed.kind === 'invalid') return parsed;
  const { object } = parsed;
  const issues: ValidationIssue[] = [];
  const state = parseDeclaredState(object.get('state') ?? null, issues);
  const objects = object.get('capabilities') ?? null;
  const capabilities = objects === null ? undefined : parseCapabilityObjects(objects, issues);
  const seq = parseSeq(object.get('seq') ?? null, ['body', 'seq'], issues);
  const cordon = parseCordon(object.get('cordon') ?? null, issues);
  const load = parseLoad(object.get('load') ?? null, issues);
  return issues.length > 0 ? { kind: 'invalid', issues } : { kind: 'renewal', state, capabilities, seq, cordon, load };
}

function toReadyLoad([, , running, waiting, limit]: readonly (string | undefined)[]): ReplicaLoad | undefined {
  if (running === undefined) return undefined;
  return { running: Number(running), waiting: Number(waiting), limit: toNumber(limit) };
}

function toNumber(digits: string | undefined): number | undefined {
  return digits === undefined ? undefined : Number(digits);
}

/** Serializes the body of a renewal. */
export function serializeRenewal({ state, capabilities, seq, cordon, load }: RenewalReport): string {
  const members = [
    ...(state === undefined ? [] : [`"state":${JSON.stringify(state)}`]),
    ...(seq === undefined ? [] : [`"seq":${seq}`]),
    ...(load ? [`"load":${serializeLoad(load)}`] : []),
    ...(cordon ? [`"cordon":${serializeCordon(cordon)}`] : []),
    ...(capabilities ? [`"capabilities":[${capabilities.map(({ source }) => source).join()}]`] : []),
  ];
  return `{${members.join()}}`;
}

/** The response body of a renewal of a replica that was never cordoned. */
export const RENEWED_BODY = '{"status":"renewed"}';

/** Serializes the response body of a renewal, with the cordon of the replica. */
export function serializeRenewed(cordon: Cordon): string {
  return `${RENEWED_BODY.slice(0, -1)},"cordon":${serializeCordon(cordon)}}`;
}

/** Parses the cordon in the response body of a renewal. Returns undefined if there is none. */
export function parseRenewedCordon(body: string): Cordon | undefined {
  if (body === RENEWED_BODY) return undefined;
  try {
    return toCordon((JSON.parse(body) as { readonly cordon?: unknown } | null)?.cordon);
  } catch {
    return undefined;
  }
}

/** Returns a copy of the replica with other capabilities. */
export function replaceCapabilities({ id, endpoint }: Replica, capabilities: readonly Capability[]): SerializedReplica {
  return new SerializedReplica({ id, endpoint, capabilities });
}
