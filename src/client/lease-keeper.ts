import { createParser } from 'eventsource-parser';
import { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import { type LeaseEvent, leaseEventFromData } from '../wire/lease-events.js';
import type { ApiClient, OpenLease } from './api-client.js';
import { createBackoff } from './backoff.js';
import { sleep } from './sleep.js';

/** What happens to a registration that is being kept. */
export type LeaseChange =
  | { readonly kind: 'registered'; readonly server: string }
  /** The lease ended, or could not be had; the next try comes after `retryInMs`. */
  | { readonly kind: 'lost'; readonly error: AnyserveError; readonly retryInMs: number }
  /** A newer registration has taken the id: after `retryInMs` it is looked up, and taken only if nobody has it. */
  | { readonly kind: 'superseded'; readonly server: string; readonly retryInMs: number };

/** What a lease keeper needs. */
export interface LeaseKeeperOptions {
  readonly api: ApiClient;
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly onChange?: ((change: LeaseChange, replica: Replica) => void) | undefined;
}

/** Three heartbeats of the original; a stream that is silent for longer is taken for dead. */
const SILENCE_LIMIT_MS = 15_000;

/** A lease held this long was a success: the next loss begins with short waits again. */
const STEADY_AFTER_MS = 30_000;

/** Around this long, ±50 %, the loser of an id stays away from it. */
const STAND_BY_MS = 30_000;

type StreamEnd = { readonly kind: 'lost'; readonly reason: string } | { readonly kind: 'superseded' };

/** Keeps one replica registered: opens the lease, watches over it, and opens it again when it is lost. */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /**
   * Keeps the registration until {@link stop}. Rejects when trying again is no use: the server refuses this
   * registration, or no server of the list turned out to be an API server.
   */
  run(): Promise<void> {
    this.#running ??= this.#keep();
    return this.#running;
  }

  /** Gives the lease back: the connection is closed, and the replica is out of the list. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running?.catch(() => {});
  }

  async #keep(): Promise<void> {
    const { api, replica, clock, random } = this.#options;
    const { signal } = this.#stop;
    const backoff = createBackoff(random);
    let wasRegistered = false;
    let strangers = 0;
    while (!signal.aborted) {
      try {
        const lease = await api.openLease(replica, signal);
        wasRegistered = true;
        const since = clock.nowMs();
        const end = await this.#follow(lease);
        if (signal.aborted) return;
        if (clock.nowMs() - since >= STEADY_AFTER_MS) backoff.reset();
        if (end.kind === 'superseded') {
          await this.#standBy(lease.server);
          continue;
        }
        throw new AnyserveError('server_unreachable', `lost the API server ${lease.server}: ${end.reason}`);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof AnyserveError)) throw error;
        if (error.code === 'not_an_api_server') strangers++;
        const isHopeless = error.code === 'not_an_api_server' && !wasRegistered && strangers >= api.serverCount;
        if (isHopeless || (error.final && error.code !== 'not_an_api_server')) throw error;
        const retryInMs = backoff.nextDelayMs();
        this.#tell({ kind: 'lost', error, retryInMs });
        await sleep(clock, retryInMs, signal);
      }
    }
  }

  /** Reads a lease's stream to its end, however it ends. */
  async #follow({ server, body }: OpenLease): Promise<StreamEnd> {
    const { clock } = this.#options;
    let superseded = false;
    let reason = 'it closed the stream';
    const onEvent = (event: LeaseEvent): void => {
      if (event === 'registered') this.#tell({ kind: 'registered', server });
      if (event === 'superseded') superseded = true;
    };
    const parser = createParser({ onEvent: ({ data }) => onEvent(leaseEventFromData(data)) });
    const decoder = new TextDecoder();
    let cancelWatch = (): void => {};
    const watch = (): void => {
      cancelWatch();
      cancelWatch = clock.schedule(SILENCE_LIMIT_MS, () => {
        reason = `nothing heard for ${SILENCE_LIMIT_MS / 1000} s`;
        body.destroy();
      });
    };
    const onStop = (): void => void body.destroy();
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    watch();
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        watch();
        parser.feed(decoder.decode(chunk, { stream: true }));
      }
    } catch {
      // Broken off or destroyed by us: the reason is told already.
      if (reason === 'it closed the stream') reason = 'the connection broke off';
    } finally {
      cancelWatch();
      this.#stop.signal.removeEventListener('abort', onStop);
      body.destroy();
    }
    return superseded ? { kind: 'superseded' } : { kind: 'lost', reason };
  }

  /** Waits until nobody holds the id any more. Taking it back at once would have two processes fight for ever. */
  async #standBy(server: string): Promise<void> {
    const { api, replica, clock, random } = this.#options;
    const { signal } = this.#stop;
    for (;;) {
      const retryInMs = STAND_BY_MS * (0.5 + random.fraction());
      this.#tell({ kind: 'superseded', server, retryInMs });
      await sleep(clock, retryInMs, signal);
      if (signal.aborted) return;
      // Whoever cannot be asked may still hold it.
      const held = await api.replicas({ signal, server }).catch(() => undefined);
      if (held && !held.some(({ id }) => id === replica.id)) return;
    }
  }

  /** Tells a change. What the listener throws is its own failure, and must not be taken for the connection's. */
  #tell(change: LeaseChange): void {
    try {
      this.#options.onChange?.(change, this.#options.replica);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
