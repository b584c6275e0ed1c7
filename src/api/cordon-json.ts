import { type Cordon, MAX_CORDON_AT_MS, MAX_CORDON_REASON_BYTES } from '../core/cordon.js';
import { isLongerThan, type ReplicaId } from '../core/ids.js';
import { UNTRUSTED_JSON_LIMITS } from '../json/exact-json.js';
import { isJsonObject, type Json, JsonNumber } from '../json/json-value.js';
import { detachString } from '../json/string-memory.js';
import { parseBodyObject } from './body-object.js';
import {
  createValidationFailure,
  createValueIssue,
  type ValidationFailure,
  type ValidationIssue,
} from './validation-issues.js';

/** Serializes the `cordon` member of requests, responses and list entries. */
export function serializeCordon({ cordoned, reason, atMs }: Cordon): string {
  return JSON.stringify({ cordoned, reason, at: atMs });
}

/** Parses the cordon that a replica repeats in a registration or a renewal. Returns undefined for null. */
export function parseCordon(input: Json, issues: ValidationIssue[]): Cordon | undefined {
  if (input === null) return undefined;
  const loc = ['body', 'cordon'];
  if (!isJsonObject(input)) {
    issues.push({ type: 'dict_type', loc, msg: 'Input should be a valid dictionary', input });
    return undefined;
  }
  const cordoned = input.get('cordoned');
  if (typeof cordoned !== 'boolean') {
    issues.push(createValueIssue([...loc, 'cordoned'], 'it must be true or false', cordoned ?? null));
    return undefined;
  }
  const at = input.get('at') ?? null;
  const atMs = at instanceof JsonNumber ? Number(at.text) : Number.NaN;
  if (!isValidTime(atMs)) {
    issues.push(createValueIssue([...loc, 'at'], 'it must be a time in ms since 1970', at));
    return undefined;
  }
  const reason = parseReason(input.get('reason') ?? null, [...loc, 'reason'], issues);
  return reason === undefined ? undefined : { cordoned, reason, atMs };
}

function isValidTime(atMs: number): boolean {
  return Number.isSafeInteger(atMs) && atMs >= 0 && atMs <= MAX_CORDON_AT_MS;
}

/** Parses a reason. Returns an empty one for null, and undefined for an invalid one. */
function parseReason(input: Json, loc: ValidationIssue['loc'], issues: ValidationIssue[]): string | undefined {
  if (input === null) return '';
  if (typeof input !== 'string') {
    issues.push({ type: 'string_type', loc, msg: 'Input should be a valid string', input });
    return undefined;
  }
  if (!isLongerThan(MAX_CORDON_REASON_BYTES, input)) return detachString(input);
  issues.push(createValueIssue(loc, `it must have at most ${MAX_CORDON_REASON_BYTES} bytes`, input));
  return undefined;
}

/** A valid request to cordon a replica, or the issues of an invalid one. */
export type CordonRequestOutcome = { readonly kind: 'cordon'; readonly reason: string } | ValidationFailure;

/** Parses the body of `PUT /replicas/{id}/cordon`: empty, or an object with an optional `reason`. Other keys are ignored. */
export function parseCordonRequest(body: string): CordonRequestOutcome {
  if (body.trim() === '') return { kind: 'cordon', reason: '' };
  const parsed = parseBodyObject(body, UNTRUSTED_JSON_LIMITS);
  if (parsed.kind === 'invalid') return parsed;
  const { object } = parsed;
  const issues: ValidationIssue[] = [];
  const reason = parseReason(object.get('reason') ?? null, ['body', 'reason'], issues);
  return reason === undefined ? createValidationFailure(issues) : { kind: 'cordon', reason };
}

/** A server's response to a request to cordon or uncordon a replica. */
export interface CordonResponse {
  readonly cordon: Cordon;
  /** Whether the replica repeats the cordon at other servers and at restarted ones. Otherwise it ends with the server. */
  readonly isRepeated: boolean;
}

/** Serializes the response to a request to cordon or uncordon a replica. */
export function serializeCordonResponse(id: ReplicaId, { cordon, isRepeated }: CordonResponse): string {
  const status = cordon.cordoned ? 'cordoned' : 'uncordoned';
  const head = `"status":"${status}","replica_id":${JSON.stringify(id)}`;
  return `{${head},"cordon":${serializeCordon(cordon)},"repeated_by_replica":${isRepeated}}`;
}

/** Parses the response to a request to cordon or uncordon a replica. Returns undefined for any other string. */
export function parseCordonResponse(text: string): CordonResponse | undefined {
  try {
    const { cordon: member, repeated_by_replica } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const cordon = toCordon(member);
    return cordon && { cordon, isRepeated: repeated_by_replica === true };
  } catch {
    return undefined;
  }
}

/** Reads a cordon from a server's parsed JSON. Returns undefined for anything else, including one that servers would refuse. */
export function toCordon(value: unknown): Cordon | undefined {
  const { cordoned, reason = '', at } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof cordoned !== 'boolean' || typeof at !== 'number' || !isValidTime(at)) return undefined;
  if (typeof reason !== 'string' || isLongerThan(MAX_CORDON_REASON_BYTES, reason) || !reason.isWellFormed()) {
    return undefined;
  }
  return { cordoned, reason, atMs: at };
}
