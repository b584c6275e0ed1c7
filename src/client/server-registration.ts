import { UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock, Random } from '../core/ports.js';
import type { DeclaredState, Instance, Replica } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import type { CordonRelay } from './cordon-relay.js';
import { HeldLease, type HeldLeaseEnd, type RegisteredReplica } from './held-lease.js';
import type { OpenLease } from './lease-client.js';
import { waitUntilUnlisted } from './listed-id.js';
import type { OwnInstance } from './own-instance.js';
import { RegistrationFailures } from './registration-failures.js';
import type { RegistryClaims } from './registry-claims.js';
import type { ServerAddress } from './server-list.js';

/** Interval at which a server that doesn't know its registry yet is asked again, in ms. */
const UNKNOWN_REGISTRY_POLL_MS = 1000;

/** Interval at which a waiting keeper checks whether its token has been replaced, in ms. */
const TOKEN_POLL_MS = 2000;

/** Context shared by the registrations of one replica with several servers. */
export interface RegistrationContext {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly ttlMs: number;
  /** Share of the calls. Undefined: the default. */
  readonly weight: number | undefined;
  readonly instance: OwnInstance;
  readonly claims: RegistryClaims<ServerRegistration>;
  readonly cordons: CordonRelay<ServerAddress>;
  /** Returns the replica as it is to be registered. */
  readonly getReplica: () => Replica;
  /** Returns the state that the replica declares. */
  readonly getState: () => DeclaredState;
  /** Returns the current load of the replica. Undefined if it isn't known. */
  readonly getLoad: () => ReplicaLoad | undefined;
  /** Returns whether this is the only API server, so that no other can share its registry. */
  readonly isOnlyServer: () => boolean;
  /** Returns whether the replica is registered with another server. */
  readonly isRegisteredElsewhere: (registration: ServerRegistration) => boolean;
  readonly listener: RegistrationListener;
}

/** Receives what happens at one server. */
export interface RegistrationListener {
  onRegistered(registration: ServerRegistration): void;
  /** The lease ended or was not granted, and should be reported if `isNews`. */
  onLost(registration: ServerRegistration, error: AnyserveError, retryInMs: number, isNews: boolean): void;
  /** Another process took the id. The listener pauses the registration, or lets it register again. */
  onSuperseded(registration: ServerRegistration, by: Instance | undefined): void;
  /** The server accepted the capabilities of a replica. */
  onCapabilitiesAccepted(registration: ServerRegistration, replica: Replica): void;
  /** The server refused the capabilities. Returns `retry` if others apply now, so that a registration can succeed at once. */
  onCapabilitiesRefused(replica: Replica, error: AnyserveError): 'retry' | 'wait';
  /** The server accepted new capabilities for the same lease. */
  onUpdated(registration: ServerRegistration): void;
  /** The server accepted a state, or the lease ended, so that nothing is left to accept. */
  onStateSettled(registration: ServerRegistration): void;
  onMisrouted(registration: ServerRegistration): void;
  /** The registration is only in this server, for this reason, or (undefined) is shared with the others of its registry again. */
  onSharing(registration: ServerRegistration, problem: string | undefined): void;
}

/**
 * Keeps one replica registered with one API server: opens a lease, holds it, and opens a new one when it is lost. Asks for
 * a two-way lease. A server that grants only one-way leases, such as the Python server, learns only whether the
 * replica is there.
 */
export class ServerRegistration {
  readonly server: ServerAddress;
  readonly #context: RegistrationContext;
  readonly #failures: RegistrationFailures;
  readonly #stop = new AbortController();
  /** Aborted to give up the current lease, registration or wait. Replaced when the replica can be registered again. */
  #giveUp = new AbortController();
  #held: HeldLease | undefined;
  /** Whether the server last granted a two-way lease. Then it knows states, and doesn't route to an unready replica. */
  #isStateAware = false;
  /** Whether a one-way lease was given up to register again with new capabilities. */
  #isReplaced = false;
  #isPaused = false;
  #wake = (): void => {};

  constructor(server: ServerAddress, context: RegistrationContext) {
    this.server = server;
    this.#context = context;
    this.#failures = new RegistrationFailures(context.random);
  }

  /** Whether a lease is held. */
  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  /** Whether there is no lease, or the server has accepted the current capabilities for it. */
  get hasCurrentCapabilities(): boolean {
    return !this.#held || this.#held.acceptedCapabilities === this.#context.getReplica().capabilities;
  }

  /** Whether there is no two-way lease, or the server has accepted the current state for it. */
  get hasCurrentState(): boolean {
    return !this.#held?.isTwoWay || this.#held.acceptedState === this.#context.getState();
  }

  /** Keeps the replica registered until {@link end}. */
  async run(): Promise<void> {
    while (await this.#waitUntilRegistrable()) {
      const { signal } = this.#giveUp;
      try {
        if (await this.#claim(signal)) await this.#registerAndHold(signal);
      } catch (error) {
        if (signal.aborted) continue;
        if (!(error instanceof AnyserveError)) throw error;
        // Another server of the same registry takes the lease over during the wait.
        this.#context.claims.release(this);
        await this.#handleFailure(error, signal);
      } finally {
        this.#context.claims.release(this);
      }
    }
  }

  /** Ends the registration and releases the lease. */
  end(): void {
    this.#stop.abort();
    this.#giveUp.abort();
    this.#wake();
  }

  /** Releases the lease, and registers no more until {@link resume}. */
  pause(): void {
    this.#isPaused = true;
    this.#giveUp.abort();
  }

  resume(): void {
    this.#isPaused = false;
    this.#resetGiveUp();
  }

  /** Sends the current state. */
  sendState(): void {
    if (this.#held?.isTwoWay) this.#held.declare(this.#context.getState());
    else if (this.#context.getState() !== 'ready' && !this.#isStateAware) this.#giveUp.abort();
    else if (!this.#isPaused) this.#resetGiveUp();
  }

  /** Sends the current capabilities. Without a lease, the next registration has them. */
  sendCapabilities(): void {
    if (this.hasCurrentCapabilities) return;
    if (this.#held?.isTwoWay) this.#held.replaceCapabilities(this.#context.getReplica().capabilities);
    else if (this.#held) {
      // A one-way lease is given up once, even if more updates follow until it has ended.
      this.#held = undefined;
      this.#isReplaced = true;
      this.#giveUp.abort();
      this.#giveUp = new AbortController();
    }
  }

  /** Sends the newest cordon, if the server doesn't know it. Without a lease, the next registration has it. */
  sendCordon(): void {
    this.#held?.sendCordon();
  }

  #resetGiveUp(): void {
    if (this.#giveUp.signal.aborted) this.#giveUp = new AbortController();
    this.#wake();
  }

  /** Waits until the replica can be registered in its current state. Resolves with false if the registration has ended. */
  async #waitUntilRegistrable(): Promise<boolean> {
    const canRegister = (): boolean => !this.#isPaused && (this.#context.getState() === 'ready' || this.#isStateAware);
    while (!canRegister() && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#stop.signal.aborted;
  }

  /** Claims the server's registry. Returns false after a wait if another server with the same registry has the lease. */
  async #claim(signal: AbortSignal): Promise<boolean> {
    const { api, claims, clock, isOnlyServer, isRegisteredElsewhere } = this.#context;
    if (isOnlyServer()) return claims.take(this.server.name, this);
    const registry = await api.leases.findRegistry(this.server, signal);
    if (registry === UNKNOWN_REGISTRY && isRegisteredElsewhere(this)) {
      await sleep(clock, UNKNOWN_REGISTRY_POLL_MS, signal);
      return false;
    }
    if (claims.take(this.#toClaim(registry), this)) return true;
    await claims.waitForRelease(signal);
    return false;
  }

  /** Returns the key of a registry. A server that doesn't report a registry counts as one of its own. */
  #toClaim(registry: string | undefined): string {
    return registry === undefined || registry === UNKNOWN_REGISTRY ? this.server.name : registry;
  }

  /** Opens a lease and holds it to its end. Rejects with `server_unreachable` if the lease is lost. */
  async #registerAndHold(signal: AbortSignal): Promise<void> {
    const { api, clock, ttlMs, weight, instance, claims, cordons, listener, getReplica, getState, getLoad } =
      this.#context;
    if (this.#isReplaced) await waitUntilUnlisted({ api, clock, server: this.server, id: getReplica().id, signal });
    const [replica, state] = [getReplica(), getState()];
    const terms = { ttlMs, state, weight, load: getLoad(), instance: instance.nextSeq(), cordon: cordons.newest };
    const lease = await api.leases.open(this.server, replica, terms, signal);
    if (lease.replaced) instance.recordReplaced(lease.replaced);
    this.#isStateAware = lease.id !== undefined;
    if (!this.#isStateAware && getState() !== 'ready') this.#giveUp.abort();
    // The registry can have become known, or have changed, after the claim.
    if (!claims.take(this.#toClaim(lease.registry), this)) this.#giveUp.abort();
    this.#failures.recordRegistration();
    const grantedAtMs = clock.nowMs();
    const end = await this.#hold(lease, { replica, state }, signal);
    this.#failures.recordLeaseEnd(clock.nowMs() - grantedAtMs);
    switch (end.kind) {
      case 'lost':
        throw new AnyserveError('server_unreachable', `lost the API server ${this.server.name}: ${end.reason}`);
      case 'superseded':
        listener.onSuperseded(this, end.by);
        break;
      case 'left':
        break;
      default:
        end satisfies never;
    }
  }

  /** Holds a lease to its end, and reports what has changed since the registration. */
  async #hold(lease: OpenLease, registered: RegisteredReplica, signal: AbortSignal): Promise<HeldLeaseEnd> {
    const { api, clock, ttlMs, instance, cordons, listener, getState, getLoad } = this.#context;
    const { replica } = registered;
    const held = new HeldLease(lease, {
      ...registered,
      api,
      clock,
      ttlMs,
      cordons,
      signal,
      watchesList: lease.id === undefined && this.#isReplaced,
      onRegistered: () => listener.onRegistered(this),
      onCapabilities: (capabilities, error) => this.#onCapabilities({ ...replica, capabilities }, error),
      getSeq: () => instance.seq,
      getLoad,
      onState: () => listener.onStateSettled(this),
      onMisrouted: () => listener.onMisrouted(this),
      onSharing: (problem) => listener.onSharing(this, problem),
    });
    this.#held = held;
    held.start();
    held.declare(getState());
    listener.onCapabilitiesAccepted(this, replica);
    this.sendCapabilities();
    try {
      return await held.follow();
    } finally {
      this.#held = undefined;
      listener.onStateSettled(this);
      await held.waitForRelease();
    }
  }

  #onCapabilities(registered: Replica, error: AnyserveError | undefined): void {
    const { listener } = this.#context;
    if (error) {
      listener.onCapabilitiesRefused(registered, error);
      return;
    }
    listener.onCapabilitiesAccepted(this, registered);
    listener.onUpdated(this);
  }

  async #handleFailure(error: AnyserveError, signal: AbortSignal): Promise<void> {
    const { listener, getReplica, isRegisteredElsewhere } = this.#context;
    const isRetried = error.code === 'unprocessable' && listener.onCapabilitiesRefused(getReplica(), error) === 'retry';
    if (isRetried) return;
    const retryInMs = this.#failures.computeNextDelayMs(error);
    listener.onLost(this, error, retryInMs, this.#failures.shouldReport(error, isRegisteredElsewhere(this)));
    if (RegistrationFailures.isRefusal(error)) await this.#waitWhileRefused(retryInMs, signal);
    else await sleep(this.#context.clock, retryInMs, signal);
  }

  /** Waits after a refusal. A new token ends the wait. */
  async #waitWhileRefused(delayMs: number, signal: AbortSignal): Promise<void> {
    const { clock, api } = this.#context;
    const refusedToken = api.getToken(this.server);
    const endsAtMs = clock.nowMs() + delayMs;
    while (clock.nowMs() < endsAtMs && !signal.aborted && api.getToken(this.server) === refusedToken) {
      await sleep(clock, Math.min(TOKEN_POLL_MS, endsAtMs - clock.nowMs()), signal);
    }
  }
}
