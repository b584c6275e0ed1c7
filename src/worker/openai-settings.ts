import type { Log } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import type { ValueOrGetter } from '../core/value-or-getter.js';

/** Which OpenAI-compatible server to use, and for what. */
export interface OpenaiSettings {
  /** The base URL of `/models` and `/chat/completions`: `http://localhost:8000/v1`. */
  readonly url: string;
  /** Sent as the bearer token; never logged, and removed from what the server says. */
  readonly key?: ValueOrGetter<string> | undefined;
  /** Timeout for the first byte of an answer, in ms. */
  readonly timeoutMs: number;
  /** Timeout between two bytes of an answer, in ms. */
  readonly idleTimeoutMs: number;
  /** Authorities and certificate for an https URL. Default: the authorities of Node.js, and no certificate. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** A path to probe, or `none`. Default: `/models`, and `/health` of known engines. */
  readonly probePath?: string | undefined;
  /** The models to offer, in addition to those named for embeddings. Default: all that the server lists. */
  readonly models: readonly string[];
  /** Those that make embeddings and do not chat, or all. */
  readonly embeddings: readonly string[] | 'all';
  /** Those that chat, whatever the server says about them. */
  readonly chats?: readonly string[] | undefined;
  readonly log: Log;
}
