import { formatDuration } from '../../core/durations.js';
import { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { EngineClient, type EngineClientOptions } from '../../http/engine-client/engine-client.js';
import type { Attempt, CallChannel, CallChannels } from '../attempt.js';
import { toStatusError } from './http-failure.js';
import { IncomingResponse } from './incoming-response.js';

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
export interface HttpChannelsOptions extends EngineClientOptions {
  readonly clock: Clock;
  /** Returns the `authorization` header for an origin; undefined for none. */
  readonly getAuthorization: (origin: string) => string | undefined;
  /** Timeout for the first byte of a response, in ms. 0: the timeout of the call. */
  readonly firstByteTimeoutMs: number;
  /** Maximum time between two bytes of a response, in ms. 0: the timeout of the call. */
  readonly idleTimeoutMs: number;
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
    const { cancellation, headers: tracing } = attempt.options;
    const headers = [...call.headers];
    const authorization = this.#options.getAuthorization(this.#origin);
    if (authorization !== undefined) headers.push('authorization', authorization);
    for (const [name, value] of Object.entries(tracing ?? {})) headers.push(name, value);
    const request = {
      origin: this.#origin,
      method: call.method,
      path: this.#basePath + call.path,
      headers,
      body: call.body,
    };
    return new Promise((resolve, reject) => {
      const watchdog = new ResponseWatchdog(this.#options, attempt, (error) => response.fail(error));
      const response: IncomingResponse = new IncomingResponse({
        onBytes: () => attempt.recordMessage(),
        onAccept: () => {
          const error = this.#findStatusError(response, call.model);
          if (error) reject(error);
          else resolve(response);
        },
        onFailure: reject,
        onDone: () => watchdog.stop(),
      });
      cancellation.stop = () => response.fail(cancellation.reason);
      cancellation.throwIfCancelled();
      response.attach(this.#client.send(request, response));
      watchdog.start();
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

  #findStatusError({ head, pieces, isComplete }: IncomingResponse, model: string): AnyserveError | undefined {
    if (head.status < 400) return undefined;
    const epochMs = this.#options.clock.epochMs();
    const error = toStatusError({ ...head, body: pieces }, this.endpoint, model, epochMs);
    return error && !isComplete
      ? new AnyserveError('internal', `${this.endpoint}: HTTP ${head.status} with an endless body`)
      : error;
  }
}

/**
 * Ends a response that goes silent, or takes longer than the call has time. It has one timer per attempt, which is moved only
 * when it fires.
 */
class ResponseWatchdog {
  readonly #limits: Pick<HttpChannelsOptions, 'clock' | 'firstByteTimeoutMs' | 'idleTimeoutMs'>;
  readonly #attempt: Attempt<HttpChannel>;
  readonly #fail: (error: AnyserveError) => void;
  readonly #startedAtMs: number;
  #cancelTimer = (): void => {};

  constructor(
    limits: Pick<HttpChannelsOptions, 'clock' | 'firstByteTimeoutMs' | 'idleTimeoutMs'>,
    attempt: Attempt<HttpChannel>,
    fail: (error: AnyserveError) => void,
  ) {
    this.#limits = limits;
    this.#attempt = attempt;
    this.#fail = fail;
    this.#startedAtMs = attempt.lastMessageAtMs;
  }

  start(): void {
    const { clock } = this.#limits;
    const { deadlineEpochMs, timeoutMs } = this.#attempt.options;
    const untilDeadlineMs = deadlineEpochMs - clock.epochMs();
    const { limitMs, message } = this.#getSilenceLimit();
    const untilSilentMs =
      limitMs === 0 ? Number.POSITIVE_INFINITY : this.#attempt.lastMessageAtMs + limitMs - clock.nowMs();
    if (untilDeadlineMs <= 0)
      this.#fail(new AnyserveError('deadline_exceeded', `no response within ${formatDuration(timeoutMs)}`));
    else if (untilSilentMs <= 0)
      this.#fail(new AnyserveError('deadline_exceeded', `${message} for ${formatDuration(limitMs)}`));
    else this.#cancelTimer = clock.schedule(Math.min(untilDeadlineMs, untilSilentMs), () => this.start());
  }

  stop(): void {
    this.#cancelTimer();
  }

  #getSilenceLimit(): { readonly limitMs: number; readonly message: string } {
    const { firstByteTimeoutMs, idleTimeoutMs } = this.#limits;
    return this.#attempt.lastMessageAtMs === this.#startedAtMs
      ? { limitMs: firstByteTimeoutMs, message: 'no byte of the response arrived' }
      : { limitMs: idleTimeoutMs, message: 'the response was silent' };
  }
}
