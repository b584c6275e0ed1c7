import type { Capability } from '../core/capability.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { isJsonObject, type Json, parseJson } from '../json/exact-json.js';
import {
  createNonObjectFailure,
  parseCapabilityObjects,
  parseDeclaredState,
  REGISTRATION_LIMITS,
  toSyntaxIssue,
  type ValidationFailure,
  type ValidationIssue,
} from './registration.js';
import { SerializedReplica } from './serialized-replica.js';

/** The header of a two-way lease's stream that names the lease. */
export const LEASE_HEADER = 'x-anyserve-lease';

/** What a replica reports with a renewal. */
export interface RenewalReport {
  readonly state?: DeclaredState | undefined;
  /** What it offers from now on. Default: what it offered before. */
  readonly capabilities?: readonly Capability[] | undefined;
}

/** A report, or everything that is wrong with it. */
export type RenewalOutcome = ({ readonly kind: 'renewal' } & RenewalReport) | ValidationFailure;

/** The body of nearly all renewals, so that it need not be parsed. */
const READY_TEXT = serializeRenewal({ state: 'ready' });
const READY: RenewalOutcome = { kind: 'renewal', state: 'ready' };

/**
 * Reads the body of `PUT /leases/{lease}`: nothing, or an object with a `state`, `capabilities` or both. Other keys are
 * let through.
 */
export function parseRenewal(body: string): RenewalOutcome {
  if (body === READY_TEXT) return READY;
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
  const offered = json.get('capabilities') ?? null;
  const capabilities = offered === null ? undefined : parseCapabilityObjects(offered, issues);
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

/** Returns the replica with other capabilities. */
export function withCapabilities({ id, endpoint }: Replica, capabilities: readonly Capability[]): Replica {
  return new SerializedReplica({ id, endpoint, capabilities });
}
