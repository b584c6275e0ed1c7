import { type LeaseEvent, parseLeaseEvent } from '../api/lease-events.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { LeaseId } from '../core/ids.js';
import type { Clock, Random } from '../core/ports.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import { createBackoff } from './backoff.js';
import { EventTooLongError, readEventData } from './event-stream.js';
import type { OpenLease } from './lease-client.js';
import { watchLeaseStream } from './lease-stream-watchdog.js';
import { type ListedId, STAND_BY_POLL_MS, waitUntilFree, waitUntilUnlisted } from './listed-id.js';
import { Renewals } from './renewals.js';

/** A change of a registration that is kept. */
export type LeaseChange =
  | { readonly kind: 'registered'; readonly server: string }
  /** The lease ended or was not granted. The next attempt is made after `retryInMs`. */
  | { readonly kind: 'lost'; readonly error: AnyserveError; readonly retryInMs: number }
  /** The server accepted new capabilities for the same lease. */
  | { readonly kind: 'updated'; readonly server: string }
  /**
   * A newer registration has the id. The keeper looks the id up every `retryInMs` and takes it back when it has not been
   * listed for 5 s.
   */
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

/** Time between two looks whether a server without lease ids, which removes by id, still lists a replica that replaced itself. */
const LISTED_LOOK_MS = 30_000;

/** A token that does not do. It may be replaced here or there while we run, so that another try may be granted. */
const TOKEN_REFUSALS: ReadonlySet<ErrorCode> = new Set(['server_unauthenticated', 'server_permission_denied']);

/** What another server of the list may not answer; only at the beginning, and from all of them, is it final. */
const STRANGE: ReadonlySet<ErrorCode> = new Set(['not_an_api_server', ...TOKEN_REFUSALS]);

/** An open lease, with what was registered for it. */
interface HeldLease extends OpenLease {
  readonly replica: Replica;
  readonly state: DeclaredState;
}

/** Updates that are settled together. */
interface PendingUpdate {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: AnyserveError) => void;
}

function pendingUpdate(): PendingUpdate {
  let resolve = (): void => {};
  let reject: PendingUpdate['reject'] = () => {};
  const promise = new Promise<void>((...settle) => {
    [resolve, reject] = settle;
  });
  // A caller that does not wait for it must not be brought down by it.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

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
  #replica: Replica;
  /** The replica with what a server has last taken of it. */
  #granted: Replica | undefined;
  /** Settles the updates that no server has taken yet. */
  #update: PendingUpdate | undefined;
  /** Whether a one-way lease is held, and whether it was given up for one with another offer. */
  #isOneWay = false;
  #isReplaced = false;
  /** The server that last granted a two-way lease: one that knows states, and does not route to a replica that is unready. */
  #knowsStates: string | undefined;
  #wake = (): void => {};
  #running: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#replica = options.replica;
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

  /**
   * Replaces what the replica offers. A server that grants two-way leases takes it without a moment of absence; any other
   * is left and registered with again. Resolves when the newest of all updates so far is in the list, be it after a
   * reconnect; rejects with `unprocessable` when it is refused, and the offer before stays. Rejects with `interrupted`
   * when the keeper stops before.
   */
  update({ capabilities }: { readonly capabilities: readonly Capability[] }): Promise<void> {
    this.#replica = { id: this.#replica.id, endpoint: this.#replica.endpoint, capabilities };
    this.#update ??= pendingUpdate();
    const { promise } = this.#update;
    this.#sendOffer();
    if (this.#stop.signal.aborted) this.#settleUpdate(new AnyserveError('interrupted', 'the registration has ended'));
    return promise;
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
    this.#settleUpdate(new AnyserveError('interrupted', 'the registration has ended'));
  }

  /** Sends the present offer under the lease that is held; without one, the next registration has it. */
  #sendOffer(): void {
    if (this.#renewals) this.#renewals.offer(this.#replica.capabilities);
    else if (this.#isOneWay) {
      this.#isOneWay = false;
      this.#isReplaced = true;
      this.#leave.abort();
      this.#leave = new AbortController();
    }
  }

  /** Notes that a server has taken an offer, or refuses it: then the one that was taken before counts again. */
  #noteOffer(taken: Replica, error?: AnyserveError): void {
    if (!error) this.#granted = taken;
    if (this.#replica.capabilities !== taken.capabilities) return;
    if (error && this.#granted) this.#replica = this.#granted;
    this.#settleUpdate(error);
  }

  #settleUpdate(error?: AnyserveError): void {
    const update = this.#update;
    this.#update = undefined;
    if (error) update?.reject(error);
    else update?.resolve();
  }

  #declare(state: DeclaredState): void {
    this.#state = state;
    if (this.#renewals) this.#renewals.declare(state);
    else if (state !== 'ready' && this.#knowsStates === undefined) this.#leave.abort();
    else {
      if (this.#leave.signal.aborted) this.#leave = new AbortController();
      this.#wake();
    }
  }

  async #keep(): Promise<void> {
    const { api, clock, random, ttlMs = DEFAULTS.leaseTtlMs } = this.#options;
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
        } else if (last && this.#isReplaced) await waitUntilUnlisted(this.#listedId(last.server, signal));
        const lease = await this.#open(ttlMs, signal, last?.server);
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
        if (error.code === 'unprocessable' && this.#granted && this.#granted !== this.#replica) {
          this.#noteOffer(this.#replica, error);
          continue;
        }
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

  /** A lease, and what was registered for it. */
  async #open(ttlMs: number, signal: AbortSignal, server: string | undefined): Promise<HeldLease> {
    const [replica, state] = [this.#replica, this.#state];
    const at = state === 'ready' ? server : this.#knowsStates;
    const lease = await this.#options.api.leases.open(replica, { ttlMs, state }, signal, at);
    if (lease.lease !== undefined) this.#knowsStates = lease.server;
    else {
      this.#knowsStates = undefined;
      if (this.#state !== 'ready') this.#leave.abort();
    }
    return { ...lease, replica, state };
  }

  /**
   * Waits until the replica is ready, or registers in another state at a server that knows states; false: the keeper is
   * told to stop.
   */
  async #untilReady(): Promise<boolean> {
    while (this.#state !== 'ready' && this.#knowsStates === undefined && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#stop.signal.aborted;
  }

  /** Reads a lease's stream to its end, however it ends, and renews the lease meanwhile. */
  async #follow(
    { server, body, lease, replica, state }: HeldLease,
    ttlMs: number,
    signal: AbortSignal,
  ): Promise<StreamEnd> {
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
    const heard = watchLeaseStream(server, { api, clock, signal: silence.signal, onLost: lose });
    let givenBack: Promise<void> | undefined;
    const onLeave = (): void => {
      givenBack = this.#giveBack(server, lease).finally(() => body.destroy());
    };
    signal.addEventListener('abort', onLeave, { once: true });
    if (signal.aborted) onLeave();
    this.#renewals =
      lease &&
      new Renewals(state, {
        renew: async (report, renewing) => {
          const renewal = await api.leases.renew(server, lease, report, renewing);
          // The lease runs on, be its stream held up for long by lost packets; when it ends, a renewal tells that, too.
          if (renewal === 'renewed') heard();
          return renewal;
        },
        ttlMs,
        clock,
        onOffer: (capabilities, error) => {
          this.#noteOffer({ ...replica, capabilities }, error);
          if (!error) this.#tell({ kind: 'updated', server });
        },
        onEnd: (end) => {
          superseded = end === 'superseded';
          lose('it knows nothing of the lease any more');
        },
      });
    this.#renewals?.start();
    this.#renewals?.declare(this.#state);
    this.#isOneWay = lease === undefined;
    this.#noteOffer(replica);
    if (this.#replica !== replica) this.#sendOffer();
    const unwatch = lease === undefined && this.#isReplaced ? this.#watchList(server, signal, lose) : () => {};
    try {
      for await (const data of readEventData(body, MAX_EVENT_BYTES)) {
        heard();
        onEvent(parseLeaseEvent(data));
      }
    } catch (error) {
      if (error instanceof EventTooLongError) reason = error.message;
      // Broken off or destroyed by us: the reason is told already.
      else if (reason === 'it closed the stream') reason = 'the connection broke off';
    } finally {
      silence.abort();
      this.#renewals?.stop();
      this.#renewals = undefined;
      this.#isOneWay = false;
      unwatch();
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
    await api.leases.release(server, lease, limit.signal).catch(() => {});
    cancel();
  }

  /** Waits until the id is free; false: it was left before. */
  #standBy(server: string, signal: AbortSignal): Promise<boolean> {
    this.#tell({ kind: 'superseded', server, retryInMs: STAND_BY_POLL_MS });
    return waitUntilFree(this.#listedId(server, signal));
  }

  #listedId(server: string, signal: AbortSignal): ListedId {
    const { api, clock } = this.#options;
    return { api, clock, server, id: this.#replica.id, signal };
  }

  /** Looks again and again whether a server still lists the replica, and loses the lease when it does not. */
  #watchList(server: string, signal: AbortSignal, lose: (why: string) => void): () => void {
    const { api, clock } = this.#options;
    let cancel = (): void => {};
    const look = async (): Promise<void> => {
      const list = await api.replicas({ server, signal }).catch(() => undefined);
      if (signal.aborted) return;
      if (list && !list.some(({ id }) => id === this.#replica.id)) lose('it no longer lists the replica');
      else schedule();
    };
    const schedule = (): void => {
      cancel = clock.schedule(LISTED_LOOK_MS, () => void look());
    };
    schedule();
    return () => cancel();
  }

  /** Tells a change. What the listener throws is its own failure, and must not be taken for the connection's. */
  #tell(change: LeaseChange): void {
    try {
      this.#options.onChange?.(change, this.#replica);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
