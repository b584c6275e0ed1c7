import { setMaxListeners } from 'node:events';
import type { Clock } from '../core/ports.js';
import type { ServerAddress } from './server-list.js';

/** A request that any of several API servers can handle. */
export interface ServerQuestion<T> {
  /** Sends the request to one server. The signal is aborted when its response is no longer needed. */
  readonly ask: (server: ServerAddress, signal: AbortSignal) => Promise<T>;
  /** Whether one server's response is enough. If not, the other servers are asked too. */
  readonly isEnough: (value: T) => boolean;
  /** Ends the race early, without values. */
  readonly signal?: AbortSignal | undefined;
}

/** Time to wait for a response before the next server is asked too, in ms. */
export const NEXT_SERVER_DELAY_MS = 300;

/** Timeout for the other servers after a response that isn't enough, in ms. */
const OTHER_SERVERS_TIMEOUT_MS = 1000;

/** Outcome of a race. */
export interface RaceResult<T> {
  /** The response that is enough, or all responses that are not. Empty if every server failed. */
  readonly values: readonly T[];
  readonly failures: readonly { readonly server: ServerAddress; readonly error: unknown }[];
  /** Servers that had at least 300 ms, and did not respond before the race ended. */
  readonly slow: readonly ServerAddress[];
}

/**
 * Asks API servers in order until one response is enough. The next server is asked when one fails, when one has not
 * responded within 300 ms, and when a response is not enough. Servers that have not responded 1 s after the first such
 * response are not waited for.
 */
export function raceServers<T>(
  servers: readonly ServerAddress[],
  question: ServerQuestion<T>,
  clock: Clock,
): Promise<RaceResult<T>> {
  return new Promise((resolve) => new ServerRace(servers, question, clock, resolve).start());
}

class ServerRace<T> {
  readonly #waiting: ServerAddress[];
  readonly #question: ServerQuestion<T>;
  readonly #clock: Clock;
  readonly #resolve: (result: RaceResult<T>) => void;
  /** Servers that were asked and have not responded, with the time of the question. */
  readonly #askedAtMs = new Map<ServerAddress, number>();
  readonly #ended = new AbortController();
  readonly #values: T[] = [];
  readonly #failures: { readonly server: ServerAddress; readonly error: unknown }[] = [];
  #cancelNext = (): void => {};
  #cancelTimeout: (() => void) | undefined;

  constructor(
    servers: readonly ServerAddress[],
    question: ServerQuestion<T>,
    clock: Clock,
    resolve: (result: RaceResult<T>) => void,
  ) {
    this.#waiting = [...servers];
    this.#question = question;
    this.#clock = clock;
    this.#resolve = resolve;
    // Each server's request adds a listener.
    setMaxListeners(0, this.#ended.signal);
  }

  start(): void {
    const { signal } = this.#question;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
    else this.#askNext();
  }

  readonly #onAbort = (): void => this.#end([]);

  #askNext(): void {
    this.#cancelNext();
    const server = this.#waiting.shift();
    if (!server) return;
    this.#askedAtMs.set(server, this.#clock.nowMs());
    this.#question.ask(server, this.#ended.signal).then(
      (value) => this.#onValue(server, value),
      (error) => this.#onFailure(server, error),
    );
    if (this.#waiting.length > 0) this.#cancelNext = this.#clock.schedule(NEXT_SERVER_DELAY_MS, () => this.#askNext());
  }

  #onValue(server: ServerAddress, value: T): void {
    this.#askedAtMs.delete(server);
    if (this.#ended.signal.aborted) return;
    this.#values.push(value);
    if (this.#question.isEnough(value)) {
      this.#end([value]);
      return;
    }
    this.#cancelTimeout ??= this.#clock.schedule(OTHER_SERVERS_TIMEOUT_MS, () => this.#end(this.#values));
    while (this.#waiting.length > 0) this.#askNext();
    this.#endIfComplete();
  }

  #onFailure(server: ServerAddress, error: unknown): void {
    this.#askedAtMs.delete(server);
    if (this.#ended.signal.aborted) return;
    this.#failures.push({ server, error });
    this.#askNext();
    this.#endIfComplete();
  }

  #endIfComplete(): void {
    if (this.#askedAtMs.size === 0) this.#end(this.#values);
  }

  #end(values: readonly T[]): void {
    this.#cancelNext();
    this.#cancelTimeout?.();
    this.#question.signal?.removeEventListener('abort', this.#onAbort);
    const nowMs = this.#clock.nowMs();
    const slow = [...this.#askedAtMs].filter(([, atMs]) => nowMs - atMs >= NEXT_SERVER_DELAY_MS).map(([one]) => one);
    this.#ended.abort(this.#question.signal?.reason);
    this.#resolve({ values, failures: this.#failures, slow });
  }
}
