import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { LeaseId } from '../core/ids.js';
import type { Clock, Random } from '../core/ports.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { type LeaseEvent, leaseEventFromData } from '../wire/lease-events.js';
import type { ApiClient, OpenLease } from './api-client.js';
import { createBackoff } from './backoff.js';
import { EventTooLongError, eventData } from './event-stream.js';
import { Renewals } from './renewals.js';
import { watchSilence } from './silence.js';
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
  /** How long the lease is to last without a renewal, in milliseconds; 9,000 unless told. */
  readonly ttlMs?: number | undefined;
}

/** How long the server may take to note that a lease is given back, before the connection is simply closed. */
const RELEASE_LIMIT_MS = 1000;

/** Maximum number of bytes of a lease's stream from one event to the next; the longest event has a replica id in it. */
const MAX_EVENT_BYTES = 64 * 1024;

/** A lease held this long was a success: the next loss begins with short waits again. */
const STEADY_AFTER_MS = 30_000;

/** Around this long, ±50 %, the loser of an id stays away from it. */
const STAND_BY_MS = 30_000;

/** A token that does not do. It may be replaced here or there while we run, so that another try may be granted. */
const TOKEN_REFUSALS: ReadonlySet<ErrorCode> = new Set(['server_unauthenticated', 'server_permission_denied']);

/** What another server of the list may not answer; only at the beginning, and from all of them, is it final. */
const STRANGE: ReadonlySet<ErrorCode> = new Set(['not_an_api_server', ...TOKEN_REFUSALS]);

/** How a lease's stream ended; `left`: by our own will. */
type StreamEnd = { readonly kind: 'lost'; readonly reason: string } | { readonly kind: 'left' | 'superseded' };

/**
 * Keeps one replica registered: opens the lease, renews it, watches over it, and opens it again when it is lost. It asks
 * for a two-way lease; a server that grants only the other kind, as the original does, cannot be told more than that
 * the replica is there or not.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  /** Aborted when no lease is to be held any more; another each time the replica gets ready. */
  #leave = new AbortController();
  /** Of the two-way lease that is held; undefined while there is none. */
  #renewals: Renewals | undefined;
  #state: DeclaredState;
  #wake = (): void => {};
  #running: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#state = (options.ready ?? true) ? 'ready' : 'unready';
  }

  /**
   * Keeps the registration until {@link stop}. Rejects when trying again is no use: the server refuses this
   * registration, or before any was granted, no server of the list turned out to be an API server that takes our token.
   */
  run(): Promise<void> {
    this.#running ??= this.#keep();
    return this.#running;
  }

  /**
   * Says whether the replica takes calls. While it does not, it is not routed to: a two-way lease says so at once, and a
   * one-way lease is given back. None is taken before the replica is ready.
   */
  setReady(ready: boolean): void {
    this.#declare(ready ? 'ready' : 'unready');
  }

  /** Says that the replica takes no new calls and finishes those it has; {@link stop} follows. */
  drain(): void {
    this.#declare('draining');
  }

  /** Gives the lease back, and the replica is out of the list. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#leave.abort();
    this.#wake();
    await this.#running?.catch(() => {});
  }

  #declare(state: DeclaredState): void {
    this.#state = state;
    if (this.#renewals) this.#renewals.declare(state);
    else if (state !== 'ready') this.#leave.abort();
    else {
      if (this.#leave.signal.aborted) this.#leave = new AbortController();
      this.#wake();
    }
  }

  async #keep(): Promise<void> {
    const { api, replica, clock, random, ttlMs = DEFAULTS.leaseTtlMs } = this.#options;
    const backoff = createBackoff(random);
    let wasRegistered = false;
    let strangers = 0;
    /** The refusals told since the last registration; nobody needs to read each of them at every try. */
    const told = new Set<string>();
    /** Where the lease ended without a failure, which is where to come back; and whether somebody else has the id. */
    let last: { readonly server: string; readonly isTaken: boolean } | undefined;
    while (await this.#untilReady()) {
      const { signal } = this.#leave;
      try {
        if (last?.isTaken) {
          if (!(await this.#standBy(last.server, signal))) continue;
          last = { server: last.server, isTaken: false };
        }
        const lease = await api.openLease(replica, ttlMs, signal, last?.server);
        wasRegistered = true;
        told.clear();
        const since = clock.nowMs();
        const end = await this.#follow(lease, ttlMs, signal);
        if (clock.nowMs() - since >= STEADY_AFTER_MS) backoff.reset();
        if (end.kind === 'lost') {
          throw new AnyserveError('server_unreachable', `lost the API server ${lease.server}: ${end.reason}`);
        }
        last = { server: lease.server, isTaken: end.kind === 'superseded' };
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof AnyserveError)) throw error;
        const isStrange = STRANGE.has(error.code);
        if (isStrange) strangers++;
        const isHopeless = isStrange && !wasRegistered && strangers >= api.serverCount;
        if (isHopeless || (error.final && !isStrange)) throw error;
        last = undefined;
        const retryInMs = backoff.nextDelayMs();
        if (!told.has(error.message)) this.#tell({ kind: 'lost', error, retryInMs });
        if (TOKEN_REFUSALS.has(error.code)) told.add(error.message);
        await sleep(clock, retryInMs, signal);
      }
    }
  }

  /** Waits until the replica is ready; false: the keeper is told to stop. */
  async #untilReady(): Promise<boolean> {
    while (this.#state !== 'ready' && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#stop.signal.aborted;
  }

  /** Reads a lease's stream to its end, however it ends, and renews the lease meanwhile. */
  async #follow({ server, body, lease }: OpenLease, ttlMs: number, signal: AbortSignal): Promise<StreamEnd> {
    const { api, clock } = this.#options;
    let superseded = false;
    let reason = 'it closed the stream';
    const lose = (why: string): void => {
      reason = why;
      body.destroy();
    };
    let isRegistered = false;
    const onEvent = (event: LeaseEvent): void => {
      if (event === 'registered' && !isRegistered) this.#tell({ kind: 'registered', server });
      if (event === 'registered') isRegistered = true;
      if (event === 'superseded') superseded = true;
    };
    const silence = new AbortController();
    const heard = watchSilence(server, { api, clock, signal: silence.signal, onLost: lose });
    let givenBack: Promise<void> | undefined;
    const onLeave = (): void => {
      givenBack = this.#giveBack(server, lease).finally(() => body.destroy());
    };
    signal.addEventListener('abort', onLeave, { once: true });
    if (signal.aborted) onLeave();
    this.#renewals =
      lease &&
      new Renewals('ready', {
        renew: async (state, renewing) => {
          const renewal = await api.renew(server, lease, state, renewing);
          // The lease runs on, be its stream held up for long by lost packets; when it ends, a renewal tells that, too.
          if (renewal === 'renewed') heard();
          return renewal;
        },
        ttlMs,
        clock,
        onEnd: (end) => {
          superseded = end === 'superseded';
          lose('it knows nothing of the lease any more');
        },
      });
    this.#renewals?.start();
    this.#renewals?.declare(this.#state);
    try {
      for await (const data of eventData(body, MAX_EVENT_BYTES)) {
        heard();
        onEvent(leaseEventFromData(data));
      }
    } catch (error) {
      if (error instanceof EventTooLongError) reason = error.message;
      // Broken off or destroyed by us: the reason is told already.
      else if (reason === 'it closed the stream') reason = 'the connection broke off';
    } finally {
      silence.abort();
      this.#renewals?.stop();
      this.#renewals = undefined;
      signal.removeEventListener('abort', onLeave);
      body.destroy();
      await givenBack;
    }
    if (superseded) return { kind: 'superseded' };
    return signal.aborted ? { kind: 'left' } : { kind: 'lost', reason };
  }

  /** Has the server note that a two-way lease is given back, if it can do so soon. */
  async #giveBack(server: string, lease: LeaseId | undefined): Promise<void> {
    if (lease === undefined) return;
    const { api, clock } = this.#options;
    const limit = new AbortController();
    const cancel = clock.schedule(RELEASE_LIMIT_MS, () => limit.abort());
    await api.release(server, lease, limit.signal).catch(() => {});
    cancel();
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
      const held = await api.list({ signal, server }).catch(() => undefined);
      if (held && !held.some((listed) => listed.replica.id === replica.id)) return true;
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
