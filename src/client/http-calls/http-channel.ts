import { AnyserveError } from '../../core/errors.js';
import { EngineClient, type EngineClientOptions } from '../../http/engine-client/engine-client.js';
import type { Attempt, CallChannel, CallChannels } from '../attempt.js';
import { HttpAttempt, type ResponseLimits } from './http-attempt.js';
import type { IncomingResponse } from './incoming-response.js';

/** A request to a replica with an HTTP endpoint. */
export interface HttpCall {
  readonly method: string;
  /** Request target after the base URL of the replica: `/chat/completions`. */
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: readonly Buffer[];
  /** The model that the call is for, to recognize responses that a replica doesn't have it. Empty: none. */
  readonly model: string;
  /** Called when an attempt begins. */
  readonly onAttempt?: (() => void) | undefined;
}

/** Options of {@link HttpChannels}. */
export interface HttpChannelsOptions extends EngineClientOptions, ResponseLimits {
  /** Returns the `authorization` header for an origin; undefined for none. */
  readonly getAuthorization: (origin: string) => string | undefined;
}

/** The connections of a client to replicas with HTTP endpoints. */
export class HttpChannels implements CallChannels<HttpChannel> {
  readonly #options: HttpChannelsOptions;
  readonly #client: EngineClient;
  readonly #channels = new Map<string, HttpChannel>();

  constructor(options: HttpChannelsOptions) {
    this.#options = options;
    this.#client = new EngineClient(options);
  }

  get(endpoint: string): HttpChannel {
    let channel = this.#channels.get(endpoint);
    if (!channel) {
      channel = new HttpChannel(endpoint, this.#client, this.#options);
      this.#channels.set(endpoint, channel);
    }
    return channel;
  }

  /** Has no effect: a broken connection is not used again, and others to the same replica can be good. */
  drop(): void {}

  /** Forgets the channel to an endpoint whose replica has left. Its idle connections close after 4 s. */
  dropEndpoint(endpoint: string): void {
    this.#channels.delete(endpoint);
  }

  close(): void {
    this.#client.close();
    this.#channels.clear();
  }
}

/** Makes the calls to one replica with an HTTP endpoint. */
export class HttpChannel implements CallChannel {
  readonly endpoint: string;
  readonly #origin: string;
  readonly #basePath: string;
  readonly #client: EngineClient;
  readonly #options: HttpChannelsOptions;

  /** Throws `usage` for an endpoint that isn't a URL. */
  constructor(endpoint: string, client: EngineClient, options: HttpChannelsOptions) {
    if (!URL.canParse(endpoint)) throw new AnyserveError('usage', 'its endpoint is not a URL');
    const { origin, pathname } = new URL(endpoint);
    this.endpoint = endpoint;
    this.#origin = origin;
    this.#basePath = pathname.replace(/\/+$/, '');
    this.#client = client;
    this.#options = options;
  }

  /**
   * Makes one attempt of a call. Resolves when the response has begun, see {@link IncomingResponse}. Rejects with an
   * `HttpStatusError` for a response after which another replica is tried.
   */
  request(call: HttpCall, attempt: Attempt<HttpChannel>): Promise<IncomingResponse> {
    const authorization = this.#options.getAuthorization(this.#origin);
    const request = {
      origin: this.#origin,
      method: call.method,
      path: this.#basePath + call.path,
      headers: addHeaders(call.headers, authorization, attempt.tracingHeaders),
      body: call.body,
    };
    return new Promise((resolve, reject) => {
      const httpAttempt = new HttpAttempt(this.#options, attempt, call.model, { resolve, reject });
      httpAttempt.start((handler) => this.#client.send(request, handler));
    });
  }

  /** Returns whether the replica doesn't respond on a new connection either. Any response counts. */
  async isUnresponsive(timeoutMs: number): Promise<boolean> {
    const client = new EngineClient({ ...this.#options, connectTimeoutMs: timeoutMs });
    try {
      return await new Promise<boolean>((resolve) => {
        this.#options.clock.schedule(timeoutMs, () => resolve(true));
        const respond = (): void => resolve(false);
        client.send(
          { origin: this.#origin, method: 'GET', path: `${this.#basePath}/models`, headers: [] },
          {
            onHead: respond,
            onBody: respond,
            onEnd: respond,
            // A refused connection counts as a response: the kernel would have closed the connections of a dead process.
            onFailure: ({ kind }) => resolve(kind === 'connect_timeout'),
          },
        );
      });
    } finally {
      client.close();
    }
  }

  acquire(): void {}

  release(): void {}
}

/** Adds the headers of this replica to those of a call, which are returned as they are if there are none. */
function addHeaders(
  headers: readonly string[],
  authorization: string | undefined,
  tracing: Readonly<Record<string, string>> | undefined,
): readonly string[] {
  if (authorization === undefined && !tracing) return headers;
  const added = tracing ? withoutHeaders(headers, tracing) : [...headers];
  if (authorization !== undefined) added.push('authorization', authorization);
  for (const [name, value] of Object.entries(tracing ?? {})) added.push(name, value);
  return added;
}

/** Returns the headers without those that others replace, whose names are in lower case. */
function withoutHeaders(headers: readonly string[], others: Readonly<Record<string, string>>): string[] {
  const kept: string[] = [];
  for (let index = 0; index < headers.length; index += 2) {
    const [name = '', value = ''] = headers.slice(index, index + 2);
    if (!Object.hasOwn(others, name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}
