import { AnyserveError } from '../core/errors.js';
import type { UntrustedJson } from './openai-errors.js';

/** Maximum size of all tool calls of one answer together, in characters of JSON. */
const MAX_CHARACTERS = 16 * 1024 * 1024;

/** What a call counts for beside its fields, in characters: an empty one takes memory, too. */
const CALL_CHARACTERS = 64;

/** A tool call as far as it has arrived. Without a prototype, so that `__proto__` is a key like any other. */
type Call = Record<string, unknown>;

/** Longest arguments that are parsed to see whether they are complete. */
const MAX_PARSED = 64 * 1024;

/**
 * The tool calls of one answer, put together from the deltas of a stream: those with the same index are one call, whose
 * `arguments` (or `input`) arrive in pieces. Servers that number all calls alike, or not at all, are told apart by the ids,
 * and without ids by a name that follows complete arguments.
 */
export class ToolCalls {
  readonly #calls: { readonly index: number; readonly call: Call }[] = [];
  /** The last call of each index; that of `undefined` is the last one without an index. */
  readonly #latest = new Map<number | undefined, Call>();
  readonly #byId = new Map<unknown, Call>();
  #characters = 0;

  /** Takes the `tool_calls` of a delta, or of a whole message. Throws `internal` for anything but a list of objects. */
  add(deltas: UntrustedJson): void {
    if (deltas === undefined || deltas === null) return;
    if (!Array.isArray(deltas)) throw unusable('"tool_calls" is not a list');
    for (const delta of deltas) {
      if (typeof delta !== 'object' || delta === null) throw unusable('a tool call is not an object');
      const { index, ...fields } = delta;
      const call = this.#callFor(indexFrom(index), fields);
      this.#merge(call, fields, 0);
      if (fields.id) this.#byId.set(fields.id, call);
    }
  }

  /** Returns the calls as a JSON array; undefined when there are none. */
  json(): string | undefined {
    if (this.#calls.length === 0) return undefined;
    const ordered = this.#calls.toSorted((one, other) => one.index - other.index);
    return JSON.stringify(ordered.map(({ call }) => withArgumentsAsText(call)));
  }

  #callFor(index: number | undefined, fields: UntrustedJson): Call {
    const known = (index === undefined && fields.id && this.#byId.get(fields.id)) || this.#latest.get(index);
    if (known && !isAnother(index, fields, known)) return known;
    this.#count(CALL_CHARACTERS);
    const call: Call = Object.create(null);
    this.#calls.push({ index: index ?? this.#calls.length, call });
    this.#latest.set(index, call);
    return call;
  }

  #merge(target: Call, fields: UntrustedJson, depth: number): void {
    for (const [key, value] of Object.entries(fields) as [string, UntrustedJson][]) {
      const before = target[key];
      if (value === null || value === undefined) continue;
      this.#count(key.length);
      if (typeof value === 'string') {
        this.#count(value.length);
        target[key] = typeof before === 'string' ? mergedText(key, before, value) : value;
      } else if (typeof value === 'object' && !Array.isArray(value) && depth < 3) {
        const inner = typeof before === 'object' && before !== null ? (before as Call) : Object.create(null);
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
    if (this.#characters > MAX_CHARACTERS) throw unusable(`its tool calls have over ${MAX_CHARACTERS} characters`);
  }
}

/** A call's index. Some servers write it as a text. */
function indexFrom(index: unknown): number | undefined {
  const number = typeof index === 'string' && /^\d{1,9}$/.test(index) ? Number(index) : index;
  return Number.isSafeInteger(number) ? (number as number) : undefined;
}

/** Whether a delta begins a call, though one with its index, or like it without an index, is known. */
function isAnother(index: number | undefined, { id, function: named }: UntrustedJson, known: UntrustedJson): boolean {
  if (id && known.id) return id !== known.id && Boolean(named?.name || index === undefined);
  return Boolean(!id && named?.name && known.function?.name) && isComplete(known.function.arguments);
}

function isComplete(argumentsText: unknown): boolean {
  if (typeof argumentsText !== 'string') return argumentsText !== undefined;
  if (!argumentsText.trimEnd().endsWith('}') || argumentsText.length > MAX_PARSED) return false;
  try {
    JSON.parse(argumentsText);
    return true;
  } catch {
    return false;
  }
}

/** In OpenAI's form the arguments are JSON in a text; some servers give the object itself. */
function withArgumentsAsText(call: UntrustedJson): UntrustedJson {
  const { function: called } = call;
  if (typeof called?.arguments !== 'object' || called.arguments === null) return call;
  return { ...call, function: { ...called, arguments: JSON.stringify(called.arguments) } };
}

/** Arguments arrive in pieces; a name does with some servers, and others repeat it; all else stays as it came first. */
function mergedText(key: string, before: string, piece: string): string {
  if (key === 'arguments' || key === 'input') return before + piece;
  if (key === 'name' && before !== piece) return before + piece;
  return before === '' ? piece : before;
}

function unusable(problem: string): AnyserveError {
  return new AnyserveError('internal', problem);
}
