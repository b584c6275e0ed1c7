import { AnyserveError } from '../core/errors.js';
import type { Loose } from './openai-errors.js';

/** Maximum size of all tool calls of one answer together, in characters of JSON. */
const MAX_CHARACTERS = 16 * 1024 * 1024;

/** What a call counts for beside its fields, in characters: an empty one takes memory, too. */
const CALL_CHARACTERS = 64;

/** A tool call as far as it has arrived. Without a prototype, so that `__proto__` is a key like any other. */
type Call = Record<string, unknown>;

/**
 * The tool calls of one answer, put together from the deltas of a stream: those with the same index are one call, whose
 * `arguments` (or `input`) arrive in pieces. Servers that number all calls alike, or not at all, are told apart by the ids.
 */
export class ToolCalls {
  readonly #calls: { readonly index: number; readonly call: Call }[] = [];
  readonly #latest = new Map<unknown, Call>();
  #characters = 0;

  /** Takes the `tool_calls` of a delta, or of a whole message. Throws `internal` for anything but a list of objects. */
  add(deltas: Loose): void {
    if (deltas === undefined || deltas === null) return;
    if (!Array.isArray(deltas)) throw unusable('"tool_calls" is not a list');
    for (const delta of deltas) {
      if (typeof delta !== 'object' || delta === null) throw unusable('a tool call is not an object');
      const { index, ...fields } = delta;
      this.#merge(this.#callFor(index, fields), fields, 0);
    }
  }

  /** Returns the calls as a JSON array; undefined when there are none. */
  json(): string | undefined {
    if (this.#calls.length === 0) return undefined;
    return JSON.stringify(this.#calls.toSorted((one, other) => one.index - other.index).map(({ call }) => call));
  }

  #callFor(index: unknown, { id, function: named }: Loose): Call {
    const isNumbered = Number.isSafeInteger(index);
    const key = isNumbered ? index : 'unnumbered';
    const known = this.#latest.get(key);
    const isAnother = known && id && known['id'] && id !== known['id'] && (named?.name || !isNumbered);
    if (known && !isAnother) return known;
    this.#count(CALL_CHARACTERS);
    const call: Call = Object.create(null);
    this.#calls.push({ index: isNumbered ? (index as number) : this.#calls.length, call });
    this.#latest.set(key, call);
    return call;
  }

  #merge(target: Call, fields: Loose, depth: number): void {
    for (const [key, value] of Object.entries(fields) as [string, Loose][]) {
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

/** Arguments arrive in pieces; a name does with some servers, and others repeat it; all else stays as it came first. */
function mergedText(key: string, before: string, piece: string): string {
  if (key === 'arguments' || key === 'input') return before + piece;
  if (key === 'name' && before !== piece) return before + piece;
  return before === '' ? piece : before;
}

function unusable(problem: string): AnyserveError {
  return new AnyserveError('internal', problem);
}
