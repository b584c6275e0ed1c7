import type { InferenceClient } from '../client/client.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { InferenceResponse, Parameters } from '../inference/inference-data.js';
import { parameterToJson } from '../inference/parameters.js';
import { concatTextResponses, createTextReader } from '../inference/text-response.js';
import { type Json, JsonNumber } from '../json/json-value.js';
import { responseToJson } from './inference-output.js';

/** Parameters of a response that count tokens. */
const USAGE_PARAMETERS = ['prompt_tokens', 'completion_tokens', 'total_tokens'];

/** Collects the messages of a response, its text and its latency. The clock starts when the record is created. */
export class ResponseRecord {
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #readText: ReturnType<typeof createTextReader>;
  readonly #messages: InferenceResponse[] = [];
  #text: string | undefined;
  #firstTokenMs: number | undefined;

  /** `isText`: whether the response is a single text, streamed or unary. */
  constructor(clock: Clock, isText: boolean) {
    this.#readText = isText ? createTextReader() : () => undefined;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();
  }

  /** Text received so far. Undefined until a message has text. */
  get text(): string | undefined {
    return this.#text;
  }

  /** Whether a message was received. */
  get hasMessages(): boolean {
    return this.#messages.length > 0;
  }

  /** Adds a message and returns the text in it. */
  add(message: InferenceResponse): string {
    this.#messages.push(message);
    const added = this.#readText(message);
    if (added === undefined) return '';
    this.#text = (this.#text ?? '') + added;
    if (added !== '') this.#firstTokenMs ??= this.#getElapsedMs();
    return added;
  }

  /**
   * Returns the response as JSON in the protocol's REST format, extended by the text, the finish reason, the token usage,
   * the replica that was called, and the latency in ms. For a call that failed midway, returns the messages received and the
   * failure.
   */
  toJson({ endpoint, replicaId }: Pick<InferenceClient, 'endpoint' | 'replicaId'>, failure?: AnyserveError): Json {
    const totalMs = this.#getElapsedMs();
    const [first, ...rest] = this.#messages;
    if (!first) throw new AnyserveError('internal', `${endpoint}: the response has no messages`);
    const response = this.#text === undefined && rest.length === 0 ? first : concatTextResponses([first, ...rest]);
    const json = responseToJson(response);
    if (this.#text !== undefined) {
      json.set('text', this.#text);
      const { finish_reason: finishReason } = response.parameters;
      if (finishReason !== undefined) json.set('finish_reason', parameterToJson(finishReason));
      const usage = getUsage(response.parameters);
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
        ...(this.#firstTokenMs === undefined ? [] : [['first_token', roundToTenth(this.#firstTokenMs)] as const]),
        ['total', roundToTenth(totalMs)],
      ]),
    );
    if (failure) json.set('error', new Map([...Object.entries({ code: failure.code, message: failure.message })]));
    return json;
  }

  #getElapsedMs(): number {
    return this.#clock.nowMs() - this.#startedAtMs;
  }
}

function getUsage(parameters: Parameters): Map<string, Json> {
  const present = USAGE_PARAMETERS.filter((name) => parameters[name] !== undefined);
  return new Map(present.map((name) => [name, parameterToJson(parameters[name] ?? '')]));
}

function roundToTenth(ms: number): JsonNumber {
  return new JsonNumber(String(Math.round(ms * 10) / 10));
}
