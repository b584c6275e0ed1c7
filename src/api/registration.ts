import { type Capability, MAX_PAIRS } from '../core/capability.js';
import type { Cordon } from '../core/cordon.js';
import { findEndpointProblem } from '../core/endpoint.js';
import { asEndpoint, asReplicaId, isLongerThan, MAX_REPLICA_ID_BYTES } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import { type DeclaredState, MAX_WEIGHT, type NumberedInstance } from '../core/replica.js';
import { formatScalar, parseCapabilities } from '../json/capability-json.js';
import { type JsonLimits, JsonSyntaxError, parseJson, UNTRUSTED_JSON_LIMITS } from '../json/exact-json.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from '../json/json-value.js';
import { parseBodyObject } from './body-object.js';
import { parseCordon } from './cordon-json.js';
import { parseInstance } from './instance-json.js';
import { parseLoad } from './load-json.js';
import { SerializedReplica } from './serialized-replica.js';
import {
  createValidationFailure,
  createValueIssue,
  toSyntaxIssue,
  type ValidationFailure,
  type ValidationIssue,
} from './validation-issues.js';

/** A valid registration, or the issues of an invalid one. */
export type RegistrationOutcome = ({ readonly kind: 'registration' } & RegistrationRequest) | ValidationFailure;

/** A replica to register, with the terms of its lease. */
export interface RegistrationRequest {
  readonly replica: SerializedReplica;
  /** TTL of the lease, in ms. Undefined: the lease lasts until the connection closes. */
  readonly ttlMs: number | undefined;
  /** The initial state. */
  readonly state: DeclaredState;
  /** The registering process. Undefined if it does not report itself. */
  readonly instance: NumberedInstance | undefined;
  /** The newest cordon of the id that the replica knows. */
  readonly cordon: Cordon | undefined;
  /** Share of the calls. */
  readonly weight: number;
  /** The load. Undefined if the replica doesn't report it. */
  readonly load: ReplicaLoad | undefined;
}

/**
 * Response header of `GET /health` with the value `open` if registrations need neither a token nor a certificate. It tells nobody more
 * than an attempt to register would.
 */
export const REGISTRATION_HEADER = 'x-anyserve-registration';
export const OPEN_REGISTRATION = 'open';

/**
 * Response header of `GET /health` for a request with a token, if the server has tokens: what the token can be used for. Where everyone can
 * read, a wrong token would go unnoticed until a registration.
 */
export const TOKEN_HEADER = 'x-anyserve-token';

/** Values of {@link TOKEN_HEADER}. */
export type TokenUse = 'register' | 'read' | 'unknown';

/** Maximum size of a registration, in bytes. */
export const MAX_REGISTRATION_BYTES = 1024 * 1024;

const MAX_ENDPOINT_BYTES = 256;
const MAX_CAPABILITIES = 4096;
const MAX_TOTAL_PAIRS = 16_384;
const MAX_PAIR_TEXT_BYTES = 256;

/**
 * Limits of the JSON of registrations and renewals. The largest valid registration weighs 32,800; the rest is for
 * unknown fields. Without a limit, a body with half a million values would take half a second and 200 MB to parse.
 */
export const REGISTRATION_LIMITS: JsonLimits = { ...UNTRUSTED_JSON_LIMITS, maxWeight: 100_000 };

/** Limits of a lease's TTL, in seconds. */
const MIN_TTL_S = 1;
const MAX_TTL_S = 3600;

/** Parses and validates the body of `POST /register`. */
export function parseRegistration(body: string): RegistrationOutcome {
  if (body === '')
    return createValidationFailure([{ type: 'missing', loc: ['body'], msg: 'Field required', input: null }]);
  const parsed = parseBodyObject(body, REGISTRATION_LIMITS);
  if (parsed.kind === 'invalid') return parsed;
  const { object } = parsed;

  const issues: ValidationIssue[] = [];
  const id = parseField(object, 'replica_id', issues, (value) => parseId(value, issues));
  const endpoint = parseField(object, 'endpoint', issues, (value) => parseEndpoint(value, issues));
  const capabilities = parseField(object, 'capabilities', issues, (value) => parseCapabilityObjects(value, issues));
  const ttlMs = parseTtl(object.get('ttl') ?? null, issues);
  const state = parseDeclaredState(object.get('state') ?? null, issues) ?? 'ready';
  const instance = parseInstance(object.get('instance') ?? null, issues);
  const cordon = parseCordon(object.get('cordon') ?? null, issues);
  const weight = parseWeight(object.get('weight') ?? null, issues) ?? 1;
  const load = parseLoad(object.get('load') ?? null, issues);
  if (id === undefined || endpoint === undefined || capabilities === undefined || issues.length > 0) {
    return createValidationFailure(issues);
  }
  const replica = new SerializedReplica({
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities,
  });
  return { kind: 'registration', replica, ttlMs, state, instance, cordon, weight, load };
}

/**
 * Checks the beginning of a body over {@link MAX_REGISTRATION_BYTES} for nesting that is too deep, which is reported in
 * preference to the size. Returns undefined if there is no such issue.
 */
export function validateOversizedBody(beginning: string): readonly ValidationIssue[] | undefined {
  try {
    parseJson(beginning, REGISTRATION_LIMITS);
  } catch (error) {
    if (error instanceof JsonSyntaxError && error.isTooDeep) return [toSyntaxIssue(error)];
  }
  return undefined;
}

/** Parses a required field, or adds an issue if the body does not have it. */
function parseField<T>(
  body: JsonObject,
  name: string,
  issues: ValidationIssue[],
  parse: (value: Json) => T,
): T | undefined {
  const value = body.get(name);
  if (value !== undefined) return parse(value);
  issues.push({ type: 'missing', loc: ['body', name], msg: 'Field required', input: body });
  return undefined;
}

function parseText(input: Json, name: string, maxBytes: number, issues: ValidationIssue[]): string | undefined {
  const loc = ['body', name];
  if (typeof input !== 'string') {
    issues.push({ type: 'string_type', loc, msg: 'Input should be a valid string', input });
    return undefined;
  }
  if (isLongerThan(maxBytes, input)) {
    issues.push(createValueIssue(loc, `it must have at most ${maxBytes} bytes`, input));
    return undefined;
  }
  return input;
}

function parseId(input: Json, issues: ValidationIssue[]): string | undefined {
  const id = parseText(input, 'replica_id', MAX_REPLICA_ID_BYTES, issues);
  if (id !== '') return id;
  const msg = 'String should have at least 1 character';
  const ctx = new Map([['min_length', new JsonNumber('1')]]);
  issues.push({ type: 'string_too_short', loc: ['body', 'replica_id'], msg, input, ctx });
  return undefined;
}

function parseEndpoint(input: Json, issues: ValidationIssue[]): string | undefined {
  const endpoint = parseText(input, 'endpoint', MAX_ENDPOINT_BYTES, issues);
  const problem = endpoint === undefined ? undefined : findEndpointProblem(endpoint);
  if (problem === undefined) return endpoint;
  issues.push(createValueIssue(['body', 'endpoint'], problem, input));
  return undefined;
}

/** Parses the TTL of a two-way lease, which is in seconds, and returns it in ms. Returns undefined for null. */
function parseTtl(input: Json, issues: ValidationIssue[]): number | undefined {
  if (input === null) return undefined;
  const loc = ['body', 'ttl'];
  if (!(input instanceof JsonNumber)) {
    issues.push({ type: 'float_type', loc, msg: 'Input should be a valid number', input });
    return undefined;
  }
  const seconds = Number(input.text);
  if (seconds >= MIN_TTL_S && seconds <= MAX_TTL_S) return Math.ceil(seconds * 1000);
  issues.push(createValueIssue(loc, `the TTL must be from ${MIN_TTL_S} to ${MAX_TTL_S} seconds`, input));
  return undefined;
}

/** Parses the share of the calls. Returns undefined for null. */
function parseWeight(input: Json, issues: ValidationIssue[]): number | undefined {
  if (input === null) return undefined;
  const loc = ['body', 'weight'];
  if (!(input instanceof JsonNumber)) {
    issues.push({ type: 'int_type', loc, msg: 'Input should be a valid integer', input });
    return undefined;
  }
  const weight = Number(input.text);
  if (Number.isInteger(weight) && weight >= 1 && weight <= MAX_WEIGHT) return weight;
  issues.push(createValueIssue(loc, `the weight must be an integer from 1 to ${MAX_WEIGHT}`, input));
  return undefined;
}

const DECLARED_STATES: readonly DeclaredState[] = ['ready', 'unready', 'draining'];

/** Parses the state that a replica declares. Returns undefined for null, and adds an issue for an unknown state. */
export function parseDeclaredState(input: Json, issues: ValidationIssue[]): DeclaredState | undefined {
  const state = DECLARED_STATES.find((known) => known === input);
  if (state !== undefined || input === null) return state;
  const expected = "'ready', 'unready' or 'draining'";
  const ctx = new Map([['expected', expected]]);
  issues.push({ type: 'literal_error', loc: ['body', 'state'], msg: `Input should be ${expected}`, input, ctx });
  return undefined;
}

/** Parses the capability objects of a replica. Adds an issue for each limit that they exceed. */
export function parseCapabilityObjects(input: Json, issues: ValidationIssue[]): readonly Capability[] {
  return parseCapabilities(filterValidObjects(input, issues));
}

function filterValidObjects(input: Json, issues: ValidationIssue[]): JsonObject[] {
  const loc = ['body', 'capabilities'];
  if (!Array.isArray(input)) {
    issues.push({ type: 'list_type', loc, msg: 'Input should be a valid list', input });
    return [];
  }
  if (input.length > MAX_CAPABILITIES) {
    issues.push(
      createValueIssue(loc, `${input.length} capability objects; a replica can have at most ${MAX_CAPABILITIES}`, null),
    );
    return [];
  }
  const pairs = input.reduce((sum, item) => sum + (isJsonObject(item) ? item.size : 0), 0);
  if (pairs > MAX_TOTAL_PAIRS) {
    issues.push(createValueIssue(loc, `${pairs} pairs together; a replica can have at most ${MAX_TOTAL_PAIRS}`, null));
    return [];
  }
  return input.filter((item: Json, index: number): item is JsonObject =>
    isValidCapability(item, [...loc, index], issues),
  );
}

function isValidCapability(input: Json, loc: ValidationIssue['loc'], issues: ValidationIssue[]): boolean {
  if (!isJsonObject(input)) {
    issues.push({ type: 'dict_type', loc, msg: 'Input should be a valid dictionary', input });
    return false;
  }
  if (input.size > MAX_PAIRS) {
    issues.push(createValueIssue(loc, `${input.size} pairs; a capability object can have at most ${MAX_PAIRS}`, null));
    return false;
  }
  for (const [key, value] of input) {
    if (isLongerThan(MAX_PAIR_TEXT_BYTES, key) || isLongerThan(MAX_PAIR_TEXT_BYTES, formatScalar(value) ?? '')) {
      issues.push(
        createValueIssue([...loc, key], `a key or a value must have at most ${MAX_PAIR_TEXT_BYTES} bytes`, value),
      );
      return false;
    }
  }
  return true;
}
