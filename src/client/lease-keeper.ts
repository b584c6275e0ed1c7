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
  /** Whether the replica takes calls from the start; true unless told. See {@link LeaseKeeper.setReady}. */
  readonly ready?: boolean | undefined;
}

/** Three heartbeats of the original; a stream that is silent for longer is taken for dead. */
const SILENCE_LIMIT_MS = 15_000;

/** A lease held this long was a success: the next loss begins with short waits again. */
const STEADY_AFTER_MS = 30_000;

/** Around this long, ±50 %, the loser of an id stays away from it. */
const STAND_BY_MS = 30_000;

/** How a lease's stream ended; `left`: by our own will. */
type StreamEnd = { readonly kind: 'lost'; readonly reason: string } | { readonly kind: 'left' | 'superseded' };

/**
 * Keeps one replica registered while it is ready: opens the lease, watches over it, and opens it again when it is lost.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  /** Aborted when the replica is not ready any more, or at the stop; another each time it gets ready. */
  #leave = new AbortController();
  #isReady: boolean;
  #wake = (): void => {};
  #running: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#isReady = options.ready ?? true;
  }

  /**
   * Keeps the registration until {@link stop}. Rejects when trying again is no use: the server refuses this
   * registration, or no server of the list turned out to be an API server.
   */
  run(): Promise<void> {
    this.#running ??= this.#keep();
    return this.#running;
  }

  /**
   * Says whether the replica takes calls. While it does not, no lease is held: the one that is there is given back at
   * once, nothing is told of it, and one is opened as soon as the replica is ready again.
   */
  setReady(ready: boolean): void {
    if (ready === this.#isReady) return;
    this.#isReady = ready;
    if (ready) {
      this.#leave = new AbortController();
      this.#wake();
    } else {
      this.#leave.abort();
    }
  }

  /** Gives the lease back: the connection is closed, and the replica is out of the list. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#leave.abort();
    this.#wake();
    await this.#running?.catch(() => {});
  }

  async #keep(): Promise<void> {
    const { api, replica, clock, random } = this.#options;
    const backoff = createBackoff(random);
    let wasRegistered = false;
    let strangers = 0;
    /** Where the lease ended without a failure, which is where to come back; and whether somebody else has the id. */
    let last: { readonly server: string; readonly isTaken: boolean } | undefined;
    while (await this.#untilReady()) {
      const { signal } = this.#leave;
      try {
        if (last?.isTaken) {
          if (!(await this.#standBy(last.server, signal))) continue;
          last = { server: last.server, isTaken: false };
        }
        const lease = await api.openLease(replica, signal, last?.server);
        wasRegistered = true;
        const since = clock.nowMs();
        const end = await this.#follow(lease, signal);
        if (clock.nowMs() - since >= STEADY_AFTER_MS) backoff.reset();
        if (end.kind === 'lost') {
          throw new AnyserveError('server_unreachable', `lost the API server ${lease.server}: ${end.reason}`);
        }
        last = { server: lease.server, isTaken: end.kind === 'superseded' };
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof AnyserveError)) throw error;
        if (error.code === 'not_an_api_server') strangers++;
        const isHopeless = error.code === 'not_an_api_server' && !wasRegistered && strangers >= api.serverCount;
        if (isHopeless || (error.final && error.code !== 'not_an_api_server')) throw error;
        last = undefined;
        const retryInMs = backoff.nextDelayMs();
        this.#tell({ kind: 'lost', error, retryInMs });
        await sleep(clock, retryInMs, signal);
      }
    }
  }

  /** Waits until the replica is ready; false: the keeper is told to stop. */
  async #untilReady(): Promise<boolean> {
    while (!this.#isReady && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#stop.signal.aborted;
  }

  /** Reads a lease's stream to its end, however it ends. */
  async #follow({ server, body }: OpenLease, signal: AbortSignal): Promise<StreamEnd> {
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
    const onLeave = (): void => void body.destroy();
    signal.addEventListener('abort', onLeave, { once: true });
    if (signal.aborted) onLeave();
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
      signal.removeEventListener('abort', onLeave);
      body.destroy();
    }
    if (superseded) return { kind: 'superseded' };
    return signal.aborted ? { kind: 'left' } : { kind: 'lost', reason };
  }

  /**
   * Waits until nobody holds the id any more; false: it was left before. Taking it back at once would have two processes
   * fight for ever.
   */
  async #standBy(server: string, signal: AbortSignal): Promise<boolean> {
    const { api, replica, clock, random } = this.#options;
    for (;;) {
      const retryInMs = STAND_BY_MS * (0.5 + random.fraction());
      this.#tell({ kind: 'superseded', server, retryInMs });
      await sleep(clock, retryInMs, signal);
      if (signal.aborted) return false;
      // Whoever cannot be asked may still hold it.
      const held = await api.replicas({ signal, server }).catch(() => undefined);
      if (held && !held.some(({ id }) => id === replica.id)) return true;
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
