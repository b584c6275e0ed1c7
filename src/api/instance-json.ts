import { asInstanceId } from '../core/ids.js';
import type { Instance, NumberedInstance } from '../core/replica.js';
import { isJsonObject, type Json, JsonNumber } from '../json/json-value.js';
import { createValueIssue, type ValidationIssue } from './validation-issues.js';

/** Response header with the id of the server's registry. `unknown` until a shared store has reported it. */
export const REGISTRY_HEADER = 'x-anyserve-registry';

/** Value of {@link REGISTRY_HEADER} before the id is known. */
export const UNKNOWN_REGISTRY = 'unknown';

/** Response header of a granted lease that names the process whose registration it replaced. */
export const REPLACED_HEADER = 'x-anyserve-replaced';

/** An instance id: letters, digits, `-`, `_` and `.`, so that it fits into headers. */
const INSTANCE_ID_PATTERN = /^[\w.-]{1,64}$/;

/** Serializes the `instance` member of a registration or a list entry. */
export function serializeInstance({ id, seq, startedMs }: NumberedInstance): string {
  return JSON.stringify({ id, seq, startedMs });
}

/** Formats the value of {@link REPLACED_HEADER}: `ID;startedMs=MS`. */
export function formatReplacedHeader({ id, startedMs }: Instance): string {
  return `${id};startedMs=${startedMs}`;
}

/** Parses the value of {@link REPLACED_HEADER}. Returns undefined for any other value. */
export function parseReplacedHeader(value: string | readonly string[] | undefined): Instance | undefined {
  const [, id, startedMs] = /^([\w.-]{1,64});startedMs=(\d{1,16})$/.exec(String(value)) ?? [];
  return id === undefined ? undefined : { id: asInstanceId(id), startedMs: Number(startedMs) };
}

/** Reads an instance from parsed JSON. Returns undefined for anything else. */
export function toInstance(value: unknown): Instance | undefined {
  const { id, startedMs } = (value ?? {}) as { readonly id?: unknown; readonly startedMs?: unknown };
  if (typeof id !== 'string' || !INSTANCE_ID_PATTERN.test(id)) return undefined;
  return { id: asInstanceId(id), startedMs: typeof startedMs === 'number' ? startedMs : 0 };
}

/** Parses the registering process. Returns undefined for null. */
export function parseInstance(input: Json, issues: ValidationIssue[]): NumberedInstance | undefined {
  if (input === null) return undefined;
  const loc = ['body', 'instance'];
  if (!isJsonObject(input)) {
    issues.push({ type: 'dict_type', loc, msg: 'Input should be a valid dictionary', input });
    return undefined;
  }
  const id = input.get('id');
  const seq = parseSeq(input.get('seq') ?? null, [...loc, 'seq'], issues);
  const startedMs = parseSeq(input.get('startedMs') ?? null, [...loc, 'startedMs'], issues);
  if (typeof id === 'string' && INSTANCE_ID_PATTERN.test(id)) {
    return { id: asInstanceId(id), seq: seq ?? 0, startedMs: startedMs ?? 0 };
  }
  issues.push(
    createValueIssue([...loc, 'id'], 'it must have 1 to 64 characters: letters, digits, "-", "_" and "."', id ?? null),
  );
  return undefined;
}

/** Parses a number of a change, or a time in ms. Returns undefined for null. */
export function parseSeq(input: Json, loc: ValidationIssue['loc'], issues: ValidationIssue[]): number | undefined {
  if (input === null) return undefined;
  const seq = input instanceof JsonNumber ? Number(input.text) : Number.NaN;
  if (Number.isSafeInteger(seq) && seq >= 0) return seq;
  issues.push(createValueIssue(loc, 'it must be an integer from 0 to 2^53 - 1', input));
  return undefined;
}
