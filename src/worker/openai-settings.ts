import type { ValueOrGetter } from '../core/options.js';
import type { Log } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';

/** Settings for an OpenAI-compatible server: its URL, key and limits, and the models to serve. */
export interface OpenaiSettings {
  /** Base URL of `/models` and `/chat/completions`, for example `http://localhost:8000/v1`. */
  readonly url: string;
  /** Key to send as the bearer token. It is never logged, and redacted in messages of the server. */
  readonly key?: ValueOrGetter<string> | undefined;
  /** Timeout for the first byte of a response, in ms. */
  readonly timeoutMs: number;
  /** Timeout between two bytes of a response, in ms. */
  readonly idleTimeoutMs: number;
  /** Certificate authorities and client certificate for an https URL. Default: Node's authorities, no certificate. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** Path to probe, or `none`. Default: `/models`, and `/health` of known engines. */
  readonly probePath?: string | undefined;
  /** Models to serve in addition to those in `embeddings` and `chats`. If empty, all listed models are served. */
  readonly models: readonly string[];
  /** Models that create embeddings, or `all`. */
  readonly embeddingModels: readonly string[] | 'all';
  /** Models to serve as chat models, regardless of the type that the server reports. */
  readonly chatModels?: readonly string[] | undefined;
  readonly log: Log;
}
