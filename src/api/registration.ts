import { type Capability, MAX_PAIRS } from '../core/capability.js';
import { findEndpointProblem } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { asEndpoint, asReplicaId, isLongerThan, MAX_REPLICA_ID_BYTES } from '../core/ids.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { formatScalar, parseCapabilities } from '../json/capability-json.js';
import {
  isJsonObject,
  type Json,
  type JsonLimits,
  JsonNumber,
  type JsonObject,
  JsonSyntaxError,
  parseJson,
  serializeJson,
  UNTRUSTED_JSON_LIMITS,
} from '../json/exact-json.js';
import { SerializedReplica } from './serialized-replica.js';

/** What is wrong with one place of a body, in the form that FastAPI answers with. */
export interface ValidationIssue {
  readonly type: string;
  /** The way to the place, from `body` on; for a text that is not JSON, the character where it breaks. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  /** What was found there. */
  readonly input: Json;
  readonly ctx?: JsonObject;
}

/** Either a registration that can be granted, or everything that is wrong with it. */
export type RegistrationOutcome = ({ readonly kind: 'registration' } & RegistrationRequest) | ValidationFailure;

/** A replica that registers. */
export interface RegistrationRequest {
  readonly replica: Replica;
  /** How long its lease lasts without a renewal; undefined: for as long as the connection. */
  readonly ttlMs: number | undefined;
  /** The state it starts in. */
  readonly state: DeclaredState;
}

/** Everything that is wrong with a body. */
export interface ValidationFailure {
  readonly kind: 'invalid';
  readonly issues: readonly ValidationIssue[];
}

/** Maximum size of a registration, in bytes. */
export const MAX_REGISTRATION_BYTES = 1024 * 1024;

const MAX_ENDPOINT_BYTES = 256;
const MAX_CAPABILITIES = 4096;
const MAX_PAIRS_TOGETHER = 16_384;
const MAX_TEXT_BYTES = 256;

/**
 * The largest registration weighs 32,800, and there is room for fields that nobody knows. A body of half a million values
 * would take half a second and 200 MB to read.
 */
export const REGISTRATION_LIMITS: JsonLimits = { ...UNTRUSTED_JSON_LIMITS, maxWeight: 100_000 };

/** What a lease's time can be, in seconds. */
const MIN_TTL_S = 1;
const MAX_TTL_S = 3600;

/** Reads the body of `POST /register`. */
export function parseRegistration(body: string): RegistrationOutcome {
  if (body === '') return refused([{ type: 'missing', loc: ['body'], msg: 'Field required', input: null }]);
  let json: Json;
  try {
    json = parseJson(body, REGISTRATION_LIMITS);
  } catch (error) {
    return refused([toSyntaxIssue(error)]);
  }
  if (!isJsonObject(json)) return createNonObjectFailure(json);

  const issues: ValidationIssue[] = [];
  const id = field(json, 'replica_id', issues, (value) => idText(value, issues));
  const endpoint = field(json, 'endpoint', issues, (value) => endpointText(value, issues));
  const capabilities = field(json, 'capabilities', issues, (value) => parseCapabilityObjects(value, issues));
  const ttlMs = timeToLive(json.get('ttl') ?? null, issues);
  const state = parseDeclaredState(json.get('state') ?? null, issues) ?? 'ready';
  if (id === undefined || endpoint === undefined || capabilities === undefined || issues.length > 0) {
    return refused(issues);
  }
  const replica = new SerializedReplica({
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities,
  });
  return { kind: 'registration', replica, ttlMs, state };
}

/**
 * What is wrong with a body over {@link MAX_REGISTRATION_BYTES} besides its size, by its beginning: nesting too deep is
 * said as such, at whatever size. Undefined when there is nothing else to say.
 */
export function validateOversizedBody(beginning: string): readonly ValidationIssue[] | undefined {
  try {
    parseJson(beginning, REGISTRATION_LIMITS);
  } catch (error) {
    if (error instanceof JsonSyntaxError && error.isTooDeep) return [toSyntaxIssue(error)];
  }
  return undefined;
}

/** What a body gets that is not an object, or that its content type does not call JSON. */
export function createNonObjectFailure(input: Json): ValidationFailure {
  const msg = 'Input should be a valid dictionary or object to extract fields from';
  return refused([{ type: 'model_attributes_type', loc: ['body'], msg, input }]);
}

/** The body of the 422 answer. */
export function serializeValidationIssues(issues: readonly ValidationIssue[]): string {
  // Without a tree of maps: 8 KB of a body can have 4,000 issues.
  const entries = issues.map(({ type, loc, msg, input, ctx }) => {
    const about = `"type":${JSON.stringify(type)},"loc":${JSON.stringify(loc)},"msg":${JSON.stringify(msg)}`;
    return `{${about},"input":${serializeJson(input)}${ctx ? `,"ctx":${serializeJson(ctx)}` : ''}}`;
  });
  return `{"detail":[${entries.join()}]}`;
}

/** What is wrong with a body that cannot be read as JSON. Rethrows any other error. */
export function toSyntaxIssue(error: unknown): ValidationIssue {
  if (error instanceof AnyserveError && error.code === 'too_large')
    return createValueIssue(['body'], error.message, null);
  if (!(error instanceof JsonSyntaxError)) throw error;
  const ctx = new Map([['error', error.message]]);
  return { type: 'json_invalid', loc: ['body', error.position], msg: 'JSON decode error', input: new Map(), ctx };
}

function refused(issues: readonly ValidationIssue[]): ValidationFailure {
  return { kind: 'invalid', issues };
}

function field<T>(body: JsonObject, name: string, issues: ValidationIssue[], read: (value: Json) => T): T | undefined {
  const value = body.get(name);
  if (value !== undefined) return read(value);
  issues.push({ type: 'missing', loc: ['body', name], msg: 'Field required', input: body });
  return undefined;
}

function text(input: Json, name: string, maxBytes: number, issues: ValidationIssue[]): string | undefined {
  const loc = ['body', name];
  if (typeof input !== 'string') {
    issues.push({ type: 'string_type', loc, msg: 'Input should be a valid string', input });
    return undefined;
  }
  if (isLongerThan(maxBytes, input)) {
    issues.push(createValueIssue(loc, `it has at most ${maxBytes} bytes`, input));
    return undefined;
  }
  return input;
}

function idText(input: Json, issues: ValidationIssue[]): string | undefined {
  const id = text(input, 'replica_id', MAX_REPLICA_ID_BYTES, issues);
  if (id !== '') return id;
  const msg = 'String should have at least 1 character';
  const ctx = new Map([['min_length', new JsonNumber('1')]]);
  issues.push({ type: 'string_too_short', loc: ['body', 'replica_id'], msg, input, ctx });
  return undefined;
}

function endpointText(input: Json, issues: ValidationIssue[]): string | undefined {
  const endpoint = text(input, 'endpoint', MAX_ENDPOINT_BYTES, issues);
  const problem = endpoint === undefined ? undefined : findEndpointProblem(endpoint);
  if (problem === undefined) return endpoint;
  issues.push(createValueIssue(['body', 'endpoint'], problem, input));
  return undefined;
}

/** The time of a two-way lease, asked for in seconds; undefined when none is asked for. */
function timeToLive(input: Json, issues: ValidationIssue[]): number | undefined {
  if (input === null) return undefined;
  const loc = ['body', 'ttl'];
  if (!(input instanceof JsonNumber)) {
    issues.push({ type: 'float_type', loc, msg: 'Input should be a valid number', input });
    return undefined;
  }
  const seconds = Number(input.text);
  if (seconds >= MIN_TTL_S && seconds <= MAX_TTL_S) return Math.ceil(seconds * 1000);
  issues.push(createValueIssue(loc, `a lease lasts from ${MIN_TTL_S} to ${MAX_TTL_S} seconds`, input));
  return undefined;
}

const DECLARED: readonly DeclaredState[] = ['ready', 'unready', 'draining'];

/** Reads the state that a replica declares; undefined when it declares none, or one that nobody knows. */
export function parseDeclaredState(input: Json, issues: ValidationIssue[]): DeclaredState | undefined {
  const state = DECLARED.find((known) => known === input);
  if (state !== undefined || input === null) return state;
  const expected = "'ready', 'unready' or 'draining'";
  const ctx = new Map([['expected', expected]]);
  issues.push({ type: 'literal_error', loc: ['body', 'state'], msg: `Input should be ${expected}`, input, ctx });
  return undefined;
}

/** Reads the capability objects of a replica, within all limits on them. */
export function parseCapabilityObjects(input: Json, issues: ValidationIssue[]): readonly Capability[] {
  return parseCapabilities(validObjects(input, issues));
}

function validObjects(input: Json, issues: ValidationIssue[]): JsonObject[] {
  const loc = ['body', 'capabilities'];
  if (!Array.isArray(input)) {
    issues.push({ type: 'list_type', loc, msg: 'Input should be a valid list', input });
    return [];
  }
  if (input.length > MAX_CAPABILITIES) {
    issues.push(
      createValueIssue(loc, `${input.length} capability objects; a replica has at most ${MAX_CAPABILITIES}`, null),
    );
    return [];
  }
  const pairs = input.reduce((sum, item) => sum + (isJsonObject(item) ? item.size : 0), 0);
  if (pairs > MAX_PAIRS_TOGETHER) {
    issues.push(createValueIssue(loc, `${pairs} pairs together; a replica has at most ${MAX_PAIRS_TOGETHER}`, null));
    return [];
  }
  return input.filter((item: Json, at: number): item is JsonObject => isCapability(item, [...loc, at], issues));
}

function isCapability(input: Json, loc: ValidationIssue['loc'], issues: ValidationIssue[]): boolean {
  if (!isJsonObject(input)) {
    issues.push({ type: 'dict_type', loc, msg: 'Input should be a valid dictionary', input });
    return false;
  }
  if (input.size > MAX_PAIRS) {
    issues.push(createValueIssue(loc, `${input.size} pairs; a capability object has at most ${MAX_PAIRS}`, null));
    return false;
  }
  for (const [key, value] of input) {
    if (isLongerThan(MAX_TEXT_BYTES, key) || isLongerThan(MAX_TEXT_BYTES, formatScalar(value) ?? '')) {
      issues.push(createValueIssue([...loc, key], `a name or a value has at most ${MAX_TEXT_BYTES} bytes`, value));
      return false;
    }
  }
  return true;
}

/** A fault of ours that the original does not know, in the form of its own validators. */
export function createValueIssue(loc: ValidationIssue['loc'], message: string, input: Json): ValidationIssue {
  return { type: 'value_error', loc, msg: `Value error, ${message}`, input, ctx: new Map([['error', new Map()]]) };
}
