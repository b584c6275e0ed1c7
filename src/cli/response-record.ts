import type { InferenceClient } from '../client/client.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { InferenceResponse, Parameters } from '../inference/inference-data.js';
import { parameterToJson } from '../inference/parameters.js';
import { concatTextResponses, createTextReader } from '../inference/text-response.js';
import { type Json, JsonNumber } from '../json/exact-json.js';
import { responseToJson } from './inference-output.js';

const USAGE = ['prompt_tokens', 'completion_tokens', 'total_tokens'];

/** An answer as it comes in: its parts, its text if it is one, and how long it took. The time begins with the record. */
export class ResponseRecord {
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #read: ReturnType<typeof createTextReader>;
  readonly #parts: InferenceResponse[] = [];
  #text: string | undefined;
  #firstTokenMs: number | undefined;

  /** `isText` says whether the answer is one text, in pieces or whole. */
  constructor(clock: Clock, isText: boolean) {
    this.#read = isText ? createTextReader() : () => undefined;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();
  }

  /** The text so far; undefined while no part had one. */
  get text(): string | undefined {
    return this.#text;
  }

  /** Takes a part; returns the text that it adds. */
  add(part: InferenceResponse): string {
    this.#parts.push(part);
    const added = this.#read(part);
    if (added === undefined) return '';
    this.#text = (this.#text ?? '') + added;
    if (added !== '') this.#firstTokenMs ??= this.#sinceStartMs();
    return added;
  }

  /**
   * The answer as JSON, for a call that has ended: the protocol's form, and beside it the text, how it ended and what it
   * took, the replica that the client called, and the milliseconds. Of a call that broke off it is what had arrived, with
   * the failure.
   */
  json({ endpoint, replicaId }: Pick<InferenceClient, 'endpoint' | 'replicaId'>, failure?: AnyserveError): Json {
    const totalMs = this.#sinceStartMs();
    const [first, ...others] = this.#parts;
    if (!first) throw new AnyserveError('internal', `${endpoint}: the answer has no parts`);
    const answer = this.#text === undefined && others.length === 0 ? first : concatTextResponses([first, ...others]);
    const json = responseToJson(answer);
    if (this.#text !== undefined) {
      json.set('text', this.#text);
      const { finish_reason: finishReason } = answer.parameters;
      if (finishReason !== undefined) json.set('finish_reason', parameterToJson(finishReason));
      const usage = usageFrom(answer.parameters);
      if (usage.size > 0) json.set('usage', usage);
    }
    json.set(
      'replica',
      new Map<string, Json>([
        ['replica_id', replicaId ?? null],
        ['endpoint', endpoint ?? null],
      ]),
    );
    json.set(
      'latency_ms',
      new Map<string, Json>([
        ...(this.#firstTokenMs === undefined ? [] : [['first_token', tenths(this.#firstTokenMs)] as const]),
        ['total', tenths(totalMs)],
      ]),
    );
    if (failure) json.set('error', new Map([...Object.entries({ code: failure.code, message: failure.message })]));
    return json;
  }

  /** Whether a part has come. */
  get hasBegun(): boolean {
    return this.#parts.length > 0;
  }

  #sinceStartMs(): number {
    return this.#clock.nowMs() - this.#startedAtMs;
  }
}

function usageFrom(parameters: Parameters): Map<string, Json> {
  const known = USAGE.filter((name) => parameters[name] !== undefined);
  return new Map(known.map((name) => [name, parameterToJson(parameters[name] ?? '')]));
}

function tenths(ms: number): JsonNumber {
  return new JsonNumber(String(Math.round(ms * 10) / 10));
}
