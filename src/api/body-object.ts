import { type JsonLimits, parseJson } from '../json/exact-json.js';
import { isJsonObject, type Json, type JsonObject } from '../json/json-value.js';
import {
  createNonObjectFailure,
  createValidationFailure,
  toSyntaxIssue,
  type ValidationFailure,
} from './validation-issues.js';

/** The JSON object of a body, or the issue of a body that isn't one. */
export type BodyObjectOutcome = { readonly kind: 'object'; readonly object: JsonObject } | ValidationFailure;

/** Parses a body that must be a JSON object. */
export function parseBodyObject(body: string, limits: JsonLimits): BodyObjectOutcome {
  let json: Json;
  try {
    json = parseJson(body, limits);
  } catch (error) {
    return createValidationFailure([toSyntaxIssue(error)]);
  }
  return isJsonObject(json) ? { kind: 'object', object: json } : createNonObjectFailure(json);
}
