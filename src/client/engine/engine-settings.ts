import type { ValueOrGetter } from '../../core/options.js';
import type { ClientTls } from '../../core/tls.js';

/*
 * This file imports nothing of Node.js, because it contains public types, which must compile in projects
 * without Node's types.
 */

/** Settings for the requests to an OpenAI-compatible server. */
export interface EngineSettings {
  /** Base URL of `/models` and `/chat/completions`, for example `http://localhost:8000/v1`. */
  readonly url: string;
  /** Key to send as the bearer token. It is never logged, and redacted in messages of the server. */
  readonly key?: ValueOrGetter<string> | undefined;
  /** Certificate authorities and client certificate for an https URL. Default: Node's authorities, no certificate. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /**
   * Path to probe, below the URL or next to its `/v1`; `none` disables probes. Default: `/models`, and also `/health` of known
   * engines.
   */
  readonly probePath?: string | undefined;
}
