import type { Capability } from '../core/capability.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { parseJson } from '../json/exact-json.js';
import { isJsonObject, type Json } from '../json/json-value.js';
import { parseCapabilityObjects, parseDeclaredState, REGISTRATION_LIMITS } from './registration.js';
import { SerializedReplica } from './serialized-replica.js';
import {
  createNonObjectFailure,
  toSyntaxIssue,
  type ValidationFailure,
  type ValidationIssue,
} from './validation-issues.js';

/** Response header with the lease id. It is sent on the stream of a two-way lease. */
export const LEASE_HEADER = 'x-anyserve-lease';

/** The changes that a replica reports when it renews its lease. */
export interface RenewalReport {
  /** Default: unchanged. */
  readonly state?: DeclaredState | undefined;
  /** The capabilities that replace the previous ones. Default: unchanged. */
  readonly capabilities?: readonly Capability[] | undefined;
}

/** A valid renewal, or the issues of an invalid one. */
export type RenewalOutcome = ({ readonly kind: 'renewal' } & RenewalReport) | ValidationFailure;

/** The body of nearly all renewals. Comparing with it avoids parsing. */
const READY_BODY = serializeRenewal({ state: 'ready' });
const READY: RenewalOutcome = { kind: 'renewal', state: 'ready' };

/**
 * Parses the body of `PUT /leases/{lease}`: empty, or an object with `state`, `capabilities` or both. Other keys are
 * ignored.
 */
export function parseRenewal(body: string): RenewalOutcome {
  if (body === READY_BODY) return READY;
  if (body.trim() === '') return { kind: 'renewal' };
  let json: Json;
  try {
    json = parseJson(body, REGISTRATION_LIMITS);
  } catch (error) {
    return { kind: 'invalid', issues: [toSyntaxIssue(error)] };
  }
  if (!isJsonObject(json)) return createNonObjectFailure(json);
  const issues: ValidationIssue[] = [];
  const state = parseDeclaredState(json.get('state') ?? null, issues);
  const objects = json.get('capabilities') ?? null;
  const capabilities = objects === null ? undefined : parseCapabilityObjects(objects, issues);
  return issues.length > 0 ? { kind: 'invalid', issues } : { kind: 'renewal', state, capabilities };
}

/** Serializes the body of a renewal. */
export function serializeRenewal({ state, capabilities }: RenewalReport): string {
  const members = [
    ...(state === undefined ? [] : [`"state":${JSON.stringify(state)}`]),
    ...(capabilities ? [`"capabilities":[${capabilities.map(({ source }) => source).join()}]`] : []),
  ];
  return `{${members.join()}}`;
}

/** Returns a copy of the replica with other capabilities. */
export function replaceCapabilities({ id, endpoint }: Replica, capabilities: readonly Capability[]): SerializedReplica {
  return new SerializedReplica({ id, endpoint, capabilities });
}
