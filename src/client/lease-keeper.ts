import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import { HeldLease, type HeldLeaseEnd } from './held-lease.js';
import type { LeaseChange } from './lease-change.js';
import type { OpenLease } from './lease-client.js';
import { type ListedId, STAND_BY_POLL_MS, waitUntilFree, waitUntilUnlisted } from './listed-id.js';
import { RegistrationFailures } from './registration-failures.js';

/** Options of a {@link LeaseKeeper}. */
export interface LeaseKeeperOptions {
  readonly api: ApiClient;
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly onChange?: ((change: LeaseChange, replica: Replica) => void) | undefined;
  /** Whether the replica is ready for calls from the start. Default: true. See {@link LeaseKeeper.setReady}. */
  readonly ready?: boolean | undefined;
  /** TTL of the lease, in ms. Default: 9,000. */
  readonly ttlMs?: number | undefined;
}

/** The lease before the next registration, if it ended without a failure: the keeper returns to its server. */
interface PreviousLease {
  readonly server: string;
  /** Whether a newer registration has the id. */
  readonly isSuperseded: boolean;
}

/** The promise of all updates that no server has accepted or refused yet. */
interface PendingUpdate {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: AnyserveError) => void;
}

function createPendingUpdate(): PendingUpdate {
  let resolve = (): void => {};
  let reject: PendingUpdate['reject'] = () => {};
  const promise = new Promise<void>((...settlers) => {
    [resolve, reject] = settlers;
  });
  // A caller that ignores the promise must not get an unhandled rejection.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/**
 * Keeps one replica registered: opens a lease, holds it, and opens a new one when it is lost. Asks for a two-way lease. A
 * server that grants only one-way leases, such as the Python server, learns nothing but whether the replica is there.
 *
 * The states are: wait until the replica is ready (`#waitUntilRegistrable`), stand by while another process has the
 * id (`#standBy`), open a lease (`#open`), hold it (`#hold`), and wait after a failure.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  /** Aborted to give up the current lease or registration. Replaced when the keeper can register again. */
  #leave = new AbortController();
  readonly #failures: RegistrationFailures;
  /** The current lease; undefined while there is none. */
  #held: HeldLease | undefined;
  #state: DeclaredState;
  #replica: Replica;
  /** The replica with the capabilities that a server last accepted. */
  #accepted: Replica | undefined;
  /** The updates that no server has accepted or refused yet. */
  #update: PendingUpdate | undefined;
  /** Whether a one-way lease was given up to register again with new capabilities. */
  #isReplaced = false;
  /** The server that last granted a two-way lease. It knows states, and doesn't route to a replica that isn't ready. */
  #stateAwareServer: string | undefined;
  #wake = (): void => {};
  #running: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#failures = new RegistrationFailures(options.random, options.api.serverCount);
    this.#replica = options.replica;
    this.#state = (options.ready ?? true) ? 'ready' : 'unready';
  }

  /**
   * Keeps the registration until {@link stop}. Rejects if another attempt can't succeed: the server refuses this
   * registration, or before the first registration, none of the servers is an API server that accepts our token.
   */
  run(): Promise<void> {
    this.#running ??= this.#keep();
    return this.#running;
  }

  /**
   * Declares whether the replica is ready for calls. While it isn't, no calls are routed to it: a two-way lease reports the
   * state at once, and a one-way lease is given up. Before the replica is ready for the first time, no lease is opened.
   */
  setReady(ready: boolean): void {
    this.#declare(ready ? 'ready' : 'unready');
  }

  /**
   * Replaces the capabilities of the replica. With a two-way lease, the replica stays listed all the time; with a one-way
   * lease, the keeper registers again. Resolves when the newest update is in the list, even if that takes a reconnect.
   * Rejects with `unprocessable` if the server refuses it; the previous capabilities stay. Rejects with `interrupted` if
   * the keeper stops first.
   */
  update({ capabilities }: { readonly capabilities: readonly Capability[] }): Promise<void> {
    this.#replica = { id: this.#replica.id, endpoint: this.#replica.endpoint, capabilities };
    this.#update ??= createPendingUpdate();
    const { promise } = this.#update;
    this.#sendCapabilities();
    if (this.#stop.signal.aborted) this.#settleUpdate(createEndedError());
    return promise;
  }

  /** Declares that the replica takes no new calls and finishes those in progress. {@link stop} is to follow. */
  drain(): void {
    this.#declare('draining');
  }

  /** Releases the lease, which removes the replica from the list, and ends the keeper. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#leave.abort();
    this.#wake();
    await this.#running?.catch(() => {});
    this.#settleUpdate(createEndedError());
  }

  /** Sends the current capabilities with the current lease. Without a lease, the next registration has them. */
  #sendCapabilities(): void {
    if (this.#held?.isTwoWay) this.#held.replaceCapabilities(this.#replica.capabilities);
    else if (this.#held) {
      // A one-way lease is given up once, even if more updates follow until it has ended.
      this.#held = undefined;
      this.#isReplaced = true;
      this.#leave.abort();
      this.#leave = new AbortController();
    }
  }

  /** Records that a server has accepted capabilities, or has refused them. Then the last accepted ones apply again. */
  #recordCapabilities(registered: Replica, error?: AnyserveError): void {
    if (!error) this.#accepted = registered;
    if (this.#replica.capabilities !== registered.capabilities) return;
    if (error && this.#accepted) this.#replica = this.#accepted;
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
    if (this.#held?.isTwoWay) this.#held.declare(state);
    else if (state !== 'ready' && this.#stateAwareServer === undefined) this.#leave.abort();
    else {
      if (this.#leave.signal.aborted) this.#leave = new AbortController();
      this.#wake();
    }
  }

  async #keep(): Promise<void> {
    let previous: PreviousLease | undefined;
    while (await this.#waitUntilRegistrable()) {
      const { signal } = this.#leave;
      try {
        if (previous?.isSuperseded) {
          if (!(await this.#standBy(previous.server, signal))) continue;
          previous = { server: previous.server, isSuperseded: false };
        } else if (previous && this.#isReplaced) await waitUntilUnlisted(this.#createListedId(previous.server, signal));
        previous = await this.#registerAndHold(previous?.server, signal);
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof AnyserveError)) throw error;
        if (error.code === 'unprocessable' && this.#accepted && this.#accepted !== this.#replica) {
          // The server refuses new capabilities. The next registration has the last accepted ones.
          this.#recordCapabilities(this.#replica, error);
          continue;
        }
        if (this.#failures.record(error)) throw error;
        previous = undefined;
        await this.#waitBeforeRetry(error, signal);
      }
    }
  }

  /**
   * Waits until the replica is ready, or until a server is known to which it can declare another state. Resolves with false
   * if the keeper is stopped.
   */
  async #waitUntilRegistrable(): Promise<boolean> {
    while (this.#state !== 'ready' && this.#stateAwareServer === undefined && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#stop.signal.aborted;
  }

  /** Opens a lease and holds it to its end. Rejects with `server_unreachable` if the lease is lost. */
  async #registerAndHold(server: string | undefined, signal: AbortSignal): Promise<PreviousLease> {
    const { clock, ttlMs = DEFAULTS.leaseTtlMs } = this.#options;
    const [replica, state] = [this.#replica, this.#state];
    const lease = await this.#open(replica, state, ttlMs, signal, server);
    this.#failures.recordRegistration();
    const grantedAtMs = clock.nowMs();
    const end = await this.#hold(lease, replica, state, ttlMs, signal);
    this.#failures.recordLeaseEnd(clock.nowMs() - grantedAtMs);
    if (end.kind === 'lost') {
      throw new AnyserveError('server_unreachable', `lost the API server ${lease.server}: ${end.reason}`);
    }
    return { server: lease.server, isSuperseded: end.kind === 'superseded' };
  }

  /** Opens a lease, and records whether its server knows states. */
  async #open(
    replica: Replica,
    state: DeclaredState,
    ttlMs: number,
    signal: AbortSignal,
    server: string | undefined,
  ): Promise<OpenLease> {
    const target = state === 'ready' ? server : this.#stateAwareServer;
    const lease = await this.#options.api.leases.open(replica, { ttlMs, state }, signal, target);
    if (lease.lease !== undefined) this.#stateAwareServer = lease.server;
    else {
      this.#stateAwareServer = undefined;
      if (this.#state !== 'ready') this.#leave.abort();
    }
    return lease;
  }

  /** Holds a lease to its end, and reports what has changed since the registration. */
  async #hold(
    lease: OpenLease,
    replica: Replica,
    state: DeclaredState,
    ttlMs: number,
    signal: AbortSignal,
  ): Promise<HeldLeaseEnd> {
    const { api, clock } = this.#options;
    const { server } = lease;
    const held = new HeldLease(lease, {
      api,
      clock,
      replica,
      state,
      ttlMs,
      signal,
      watchesList: lease.lease === undefined && this.#isReplaced,
      onRegistered: () => this.#notify({ kind: 'registered', server }),
      onCapabilities: (capabilities, error) => {
        this.#recordCapabilities({ ...replica, capabilities }, error);
        if (!error) this.#notify({ kind: 'updated', server });
      },
    });
    this.#held = held;
    held.start();
    held.declare(this.#state);
    this.#recordCapabilities(replica);
    if (this.#replica !== replica) this.#sendCapabilities();
    try {
      return await held.follow();
    } finally {
      this.#held = undefined;
      await held.waitForRelease();
    }
  }

  /** Waits until the id is free. Resolves with false if the signal is aborted first. */
  #standBy(server: string, signal: AbortSignal): Promise<boolean> {
    this.#notify({ kind: 'superseded', server, retryInMs: STAND_BY_POLL_MS });
    return waitUntilFree(this.#createListedId(server, signal));
  }

  #createListedId(server: string, signal: AbortSignal): ListedId {
    const { api, clock } = this.#options;
    return { api, clock, server, id: this.#replica.id, signal };
  }

  async #waitBeforeRetry(error: AnyserveError, signal: AbortSignal): Promise<void> {
    const retryInMs = this.#failures.computeNextDelayMs();
    if (this.#failures.shouldReport(error)) this.#notify({ kind: 'lost', error, retryInMs });
    await sleep(this.#options.clock, retryInMs, signal);
  }

  /** Calls the listener. Its errors are reported as uncaught exceptions, so that they don't count as connection failures. */
  #notify(change: LeaseChange): void {
    try {
      this.#options.onChange?.(change, this.#replica);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

function createEndedError(): AnyserveError {
  return new AnyserveError('interrupted', 'the registration has ended');
}
