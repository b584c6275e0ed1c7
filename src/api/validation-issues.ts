import { AnyserveError } from '../core/errors.js';
import { JsonSyntaxError } from '../json/exact-json.js';
import { type Json, type JsonObject, serializeJson } from '../json/json-value.js';

/** A validation error of one part of a body, in the format of FastAPI. */
export interface ValidationIssue {
  readonly type: string;
  /**
   * The path to the invalid value, starting with `body`. For a JSON syntax error: `body` and the character position.
   */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  /** The invalid value. */
  readonly input: Json;
  readonly ctx?: JsonObject;
}

/** All issues of an invalid body. */
export interface ValidationFailure {
  readonly kind: 'invalid';
  readonly issues: readonly ValidationIssue[];
}

/** Creates the failure for a body that is not an object, or whose content type is not JSON. */
export function createNonObjectFailure(input: Json): ValidationFailure {
  const msg = 'Input should be a valid dictionary or object to extract fields from';
  return createValidationFailure([{ type: 'model_attributes_type', loc: ['body'], msg, input }]);
}

/** Converts an error of the JSON parser to an issue. Rethrows any other error. */
export function toSyntaxIssue(error: unknown): ValidationIssue {
  if (error instanceof AnyserveError && error.code === 'too_large')
    return createValueIssue(['body'], error.message, null);
  if (!(error instanceof JsonSyntaxError)) throw error;
  const ctx = new Map([['error', error.message]]);
  return { type: 'json_invalid', loc: ['body', error.position], msg: 'JSON decode error', input: new Map(), ctx };
}

/** Creates an issue that the Python server does not have, in the format of a custom Pydantic validator's error. */
export function createValueIssue(loc: ValidationIssue['loc'], message: string, input: Json): ValidationIssue {
  return { type: 'value_error', loc, msg: `Value error, ${message}`, input, ctx: new Map([['error', new Map()]]) };
}

/** Creates a failure from its issues. */
export function createValidationFailure(issues: readonly ValidationIssue[]): ValidationFailure {
  return { kind: 'invalid', issues };
}

/** Serializes the body of a 422 response. */
export function serializeValidationIssues(issues: readonly ValidationIssue[]): string {
  // Written directly, without a tree of maps: a body of 8 KB can have 4,000 issues.
  const entries = issues.map(({ type, loc, msg, input, ctx }) => {
    const head = `"type":${JSON.stringify(type)},"loc":${JSON.stringify(loc)},"msg":${JSON.stringify(msg)}`;
    return `{${head},"input":${serializeJson(input)}${ctx ? `,"ctx":${serializeJson(ctx)}` : ''}}`;
  });
  return `{"detail":[${entries.join()}]}`;
}
