import { isLoadNumber, MAX_LOAD, type ReplicaLoad } from '../core/load.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from '../json/json-value.js';
import { createValueIssue, type ValidationIssue } from './validation-issues.js';

/** Serializes the `load` member of a renewal or a list entry. */
export function serializeLoad({ running, waiting, limit }: ReplicaLoad): string {
  return `{"running":${running},"waiting":${waiting}${limit === undefined ? '' : `,"limit":${limit}`}}`;
}

/** Parses the load that a replica reports. Returns undefined for null. */
export function parseLoad(input: Json, issues: ValidationIssue[]): ReplicaLoad | undefined {
  if (input === null) return undefined;
  if (!isJsonObject(input)) {
    issues.push({ type: 'dict_type', loc: ['body', 'load'], msg: 'Input should be a valid dictionary', input });
    return undefined;
  }
  const running = parseNumber(input, 'running', issues);
  const waiting = parseNumber(input, 'waiting', issues);
  const limit = (input.get('limit') ?? null) === null ? undefined : parseNumber(input, 'limit', issues);
  return running === undefined || waiting === undefined ? undefined : { running, waiting, limit };
}

function parseNumber(load: JsonObject, name: keyof ReplicaLoad, issues: ValidationIssue[]): number | undefined {
  const input = load.get(name);
  const loc = ['body', 'load', name];
  if (input === undefined) {
    issues.push({ type: 'missing', loc, msg: 'Field required', input: load });
    return undefined;
  }
  const number = input instanceof JsonNumber ? Number(input.text) : undefined;
  if (isLoadNumber(number)) return number;
  issues.push(createValueIssue(loc, `it must be an integer from 0 to ${MAX_LOAD}`, input));
  return undefined;
}
