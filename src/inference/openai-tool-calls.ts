import { AnyserveError } from '../core/errors.js';
import type { UntrustedJson } from './openai-errors.js';

/** Maximum size of all tool calls of a response, in characters of JSON. */
const MAX_CALL_CHARACTERS = 16 * 1024 * 1024;

/** Characters that each call counts in addition to its fields, because an empty call takes memory too. */
const CALL_OVERHEAD_CHARACTERS = 64;

/** A tool call that can still be incomplete. It has no prototype, so that `__proto__` is an ordinary key. */
type Call = Record<string, unknown>;

/** Maximum length of arguments that are parsed to check whether they are complete, in characters. */
const MAX_PARSED_CHARACTERS = 64 * 1024;

/**
 * Builds the tool calls of a response from the deltas of a stream. Deltas with the same index are one call, whose `arguments`
 * (or `input`) arrive in pieces. Some servers send the same index for all calls, or none. Their calls are distinguished by
 * id, and without ids by a name that follows complete arguments.
 */
export class ToolCalls {
  readonly #calls: { readonly index: number; readonly call: Call }[] = [];
  /** The latest call of each index. The key `undefined` is for calls without an index. */
  readonly #latest = new Map<number | undefined, Call>();
  readonly #byId = new Map<unknown, Call>();
  #characters = 0;

  /** Adds the `tool_calls` of a delta or of a whole message. Throws `internal` for anything but a list of objects. */
  add(deltas: UntrustedJson): void {
    if (deltas === undefined || deltas === null) return;
    if (!Array.isArray(deltas)) throw createError('"tool_calls" is not a list');
    for (const delta of deltas) {
      if (typeof delta !== 'object' || delta === null) throw createError('a tool call is not an object');
      const { index, ...fields } = delta;
      const call = this.#findOrCreateCall(parseIndex(index), fields);
      this.#merge(call, fields, 0);
      if (fields.id) this.#byId.set(fields.id, call);
    }
  }

  /** Returns the calls as a JSON array. Undefined if there are none. */
  toJson(): string | undefined {
    if (this.#calls.length === 0) return undefined;
    const ordered = this.#calls.toSorted((one, other) => one.index - other.index);
    return JSON.stringify(ordered.map(({ call }) => stringifyArguments(call)));
  }

  #findOrCreateCall(index: number | undefined, fields: UntrustedJson): Call {
    const existingCall = (index === undefined && fields.id && this.#byId.get(fields.id)) || this.#latest.get(index);
    if (existingCall && !startsNewCall(index, fields, existingCall)) return existingCall;
    this.#count(CALL_OVERHEAD_CHARACTERS);
    const call: Call = Object.create(null);
    this.#calls.push({ index: index ?? this.#calls.length, call });
    this.#latest.set(index, call);
    return call;
  }

  #merge(target: Call, fields: UntrustedJson, depth: number): void {
    for (const [key, value] of Object.entries(fields) as [string, UntrustedJson][]) {
      const previous = target[key];
      if (value === null || value === undefined) continue;
      this.#count(key.length);
      if (typeof value === 'string') {
        this.#count(value.length);
        target[key] = typeof previous === 'string' ? mergeText(key, previous, value) : value;
      } else if (typeof value === 'object' && !Array.isArray(value) && depth < 3) {
        const inner = typeof previous === 'object' && previous !== null ? (previous as Call) : Object.create(null);
        target[key] = inner;
        this.#merge(inner, value, depth + 1);
      } else {
        this.#count(JSON.stringify(value).length);
        target[key] = value;
      }
    }
  }

  #count(characters: number): void {
    this.#characters += characters;
    if (this.#characters > MAX_CALL_CHARACTERS) {
      throw createError(`its tool calls have more than ${MAX_CALL_CHARACTERS} characters`);
    }
  }
}

/** Returns a call's index. Some servers send it as a string. */
function parseIndex(index: unknown): number | undefined {
  const number = typeof index === 'string' && /^\d{1,9}$/.test(index) ? Number(index) : index;
  return Number.isSafeInteger(number) ? (number as number) : undefined;
}

/** Returns whether a delta starts a new call, although a call with the same index (or also without one) is known. */
function startsNewCall(
  index: number | undefined,
  { id, function: calledFunction }: UntrustedJson,
  existingCall: UntrustedJson,
): boolean {
  if (id && existingCall.id) return id !== existingCall.id && Boolean(calledFunction?.name || index === undefined);
  return (
    Boolean(!id && calledFunction?.name && existingCall.function?.name) && isComplete(existingCall.function.arguments)
  );
}

function isComplete(argumentsText: unknown): boolean {
  if (typeof argumentsText !== 'string') return argumentsText !== undefined;
  if (!argumentsText.trimEnd().endsWith('}') || argumentsText.length > MAX_PARSED_CHARACTERS) return false;
  try {
    JSON.parse(argumentsText);
    return true;
  } catch {
    return false;
  }
}

/** Converts arguments to a JSON string, as in OpenAI's API. Some servers send an object instead. */
function stringifyArguments(call: UntrustedJson): UntrustedJson {
  const { function: calledFunction } = call;
  if (typeof calledFunction?.arguments !== 'object' || calledFunction.arguments === null) return call;
  return { ...call, function: { ...calledFunction, arguments: JSON.stringify(calledFunction.arguments) } };
}

/**
 * Merges a piece into a string. Arguments arrive in pieces. A name arrives in pieces from some servers, and others repeat
 * it. All other fields keep their first value.
 */
function mergeText(key: string, previous: string, piece: string): string {
  if (key === 'arguments' || key === 'input') return previous + piece;
  if (key === 'name' && previous !== piece) return previous + piece;
  return previous === '' ? piece : previous;
}

function createError(problem: string): AnyserveError {
  return new AnyserveError('internal', problem);
}
