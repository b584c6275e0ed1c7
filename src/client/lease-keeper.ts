import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { InstanceId } from '../core/ids.js';
import { type ReplicaLoad, toLoad } from '../core/load.js';
import type { Clock, Random } from '../core/ports.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import { CordonRelay } from './cordon-relay.js';
import { IdArbitration } from './id-arbitration.js';
import type { LeaseChange } from './lease-change.js';
import { OwnInstance } from './own-instance.js';
import { PendingUpdate } from './pending-update.js';
import { RegistrationFailures } from './registration-failures.js';
import { RegistryClaims } from './registry-claims.js';
import type { ServerAddress } from './server-list.js';
import { type RegistrationContext, type RegistrationListener, ServerRegistration } from './server-registration.js';

/** Options of a {@link LeaseKeeper}. */
export interface LeaseKeeperOptions {
  readonly api: ApiClient;
  readonly replica: Replica;
  /** Id of this process, which no other process has. */
  readonly instanceId: InstanceId;
  readonly clock: Clock;
  readonly random: Random;
  readonly onChange?: ((change: LeaseChange, replica: Replica) => void) | undefined;
  /** Whether the replica is ready for calls from the start. Default: true. See {@link LeaseKeeper.setReady}. */
  readonly ready?: boolean | undefined;
  /** TTL of the lease, in ms. Default: 9,000. */
  readonly ttlMs?: number | undefined;
  /** Share of the calls, from 1 to 1,000. Default: 1. */
  readonly weight?: number | undefined;
  /** Returns the current load, which two-way leases report. Numbers that are no integers are not reported. Default: no load. */
  readonly getLoad?: (() => ReplicaLoad | undefined) | undefined;
}

/** Maximum time to wait for the servers to accept the state `draining`, in ms. */
const DRAIN_ACCEPTED_TIMEOUT_MS = 1000;

/**
 * Keeps one replica registered with every API server, each by a {@link ServerRegistration}. {@link IdArbitration} decides what
 * happens when another process takes the replica id.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #context: RegistrationContext;
  readonly #instance: OwnInstance;
  readonly #arbitration: IdArbitration;
  readonly #stop = new AbortController();
  readonly #registrations = new Map<ServerAddress, ServerRegistration>();
  readonly #running = new Set<Promise<void>>();
  #state: DeclaredState;
  #replica: Replica;
  /** The replica with the capabilities that a server last accepted. */
  #accepted: Replica | undefined;
  /** The update that not all servers have accepted yet. */
  #update: PendingUpdate | undefined;
  /** The servers that refused the registration since their last grant. */
  readonly #refusing = new Set<ServerRegistration>();
  #wasRegistered = false;
  #stateAccepted = new AbortController();
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    const { api, clock, random, replica, instanceId, ttlMs = DEFAULTS.leaseTtlMs, ready = true, weight } = options;
    this.#options = options;
    this.#instance = new OwnInstance(instanceId, clock.epochMs());
    this.#replica = replica;
    this.#state = ready ? 'ready' : 'unready';
    this.#arbitration = new IdArbitration({
      api,
      clock,
      id: replica.id,
      instance: this.#instance,
      signal: this.#stop.signal,
      onGiveUp: (server, checkInMs) => this.#giveUpId(server, checkInMs),
      onFree: () => this.#resume(),
    });
    this.#context = {
      api,
      clock,
      random,
      ttlMs,
      weight,
      instance: this.#instance,
      claims: new RegistryClaims(),
      cordons: new CordonRelay(() => this.#sendCordon()),
      getReplica: () => this.#replica,
      getState: () => this.#state,
      getLoad: () => this.#getLoad(),
      isOnlyServer: () => this.#registrations.size === 1,
      isRegisteredElsewhere: (registration) => this.#held.some((other) => other !== registration),
      listener: this.#createListener(),
    };
  }

  /**
   * Keeps the registrations until {@link stop}. Rejects if every server refuses the registration or the token, or isn't an
   * API server, before any server granted a lease.
   */
  run(): Promise<void> {
    this.#ended ??= new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#stop.signal.aborted) resolve();
      else void this.#options.api.servers.follow((servers) => this.#syncRegistrations(servers), this.#stop.signal);
    });
    return this.#ended;
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
   * lease, it is registered again. Resolves when every server that has the replica lists the newest update, even if that
   * takes a reconnect. Rejects with `unprocessable` if a server refuses it; the previous capabilities stay. Rejects with
   * `interrupted` if the keeper stops first.
   */
  update({ capabilities }: { readonly capabilities: readonly Capability[] }): Promise<void> {
    this.#replica = { id: this.#replica.id, endpoint: this.#replica.endpoint, capabilities };
    this.#update ??= new PendingUpdate();
    const { promise } = this.#update;
    this.#sendCapabilities();
    if (this.#stop.signal.aborted) this.#settleUpdate(createEndedError());
    return promise;
  }

  /**
   * Declares that the replica takes no new calls and finishes those in progress. Call {@link stop} afterwards. Resolves when
   * all servers that list the replica have accepted this, or after 1 s.
   */
  async drain(): Promise<void> {
    this.#declare('draining');
    const { clock } = this.#options;
    const timeoutAtMs = clock.nowMs() + DRAIN_ACCEPTED_TIMEOUT_MS;
    while (!this.#held.every(({ hasCurrentState }) => hasCurrentState) && clock.nowMs() < timeoutAtMs) {
      this.#stateAccepted = new AbortController();
      await sleep(clock, timeoutAtMs - clock.nowMs(), this.#stateAccepted.signal);
    }
  }

  /** Releases the leases, which removes the replica from the lists, and ends the keeper. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const registration of this.#registrations.values()) registration.end();
    await Promise.all(this.#running);
    this.#settleUpdate(createEndedError());
    this.#settle?.resolve();
    await this.#ended?.catch(() => {});
  }

  get #held(): readonly ServerRegistration[] {
    return [...this.#registrations.values()].filter(({ isHeld }) => isHeld);
  }

  /** Begins a registration with each new server, and ends those with servers that have left the list and are lost. */
  #syncRegistrations(servers: readonly ServerAddress[]): void {
    const added = servers.filter((server) => !this.#registrations.has(server));
    for (const server of added) this.#registrations.set(server, new ServerRegistration(server, this.#context));
    for (const server of added) this.#start(this.#registrations.get(server) as ServerRegistration);
    for (const [server, registration] of this.#registrations) {
      if (servers.includes(server) || registration.isHeld) continue;
      registration.end();
      this.#registrations.delete(server);
      this.#refusing.delete(registration);
    }
  }

  #start(registration: ServerRegistration): void {
    if (this.#arbitration.isStandingBy) registration.pause();
    const running = registration.run().catch((error) => this.#fail(error));
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  #fail(error: unknown): void {
    this.#settle?.reject(error);
    void this.stop();
  }

  #declare(state: DeclaredState): void {
    if (state !== this.#state) this.#instance.nextSeq();
    this.#state = state;
    for (const registration of this.#registrations.values()) registration.sendState();
  }

  #sendCapabilities(): void {
    this.#instance.nextSeq();
    for (const registration of this.#registrations.values()) registration.sendCapabilities();
  }

  #sendCordon(): void {
    for (const registration of this.#registrations.values()) registration.sendCordon();
  }

  #createListener(): RegistrationListener {
    return {
      onRegistered: ({ server }) => this.#notify({ kind: 'registered', server: server.name }),
      onUpdated: ({ server }) => this.#notify({ kind: 'updated', server: server.name }),
      onMisrouted: ({ server }) => this.#notify({ kind: 'misrouted', server: server.name }),
      onSharing: ({ server: { name: server } }, reason) =>
        this.#notify(reason === undefined ? { kind: 'shared', server } : { kind: 'local', server, reason }),
      onLost: (registration, error, retryInMs, isNews) => this.#onLost(registration, error, retryInMs, isNews),
      onSuperseded: ({ server }, by) => this.#arbitration.recordSuperseded(server, by),
      onCapabilitiesAccepted: (registration, replica) => this.#onCapabilitiesAccepted(registration, replica),
      onCapabilitiesRefused: (replica, error) => this.#onCapabilitiesRefused(replica, error),
      onStateSettled: () => {
        this.#stateAccepted.abort();
        this.#settleUpdateIfAccepted();
      },
    };
  }

  #onLost(registration: ServerRegistration, error: AnyserveError, retryInMs: number, isNews: boolean): void {
    if (RegistrationFailures.isRefusal(error)) this.#refusing.add(registration);
    else this.#refusing.delete(registration);
    if (!this.#wasRegistered && this.#refusing.size === this.#registrations.size) {
      this.#fail(error);
      return;
    }
    const registeredWith = this.#held.map(({ server }) => server.name);
    if (isNews) this.#notify({ kind: 'lost', server: registration.server.name, error, retryInMs, registeredWith });
  }

  #giveUpId({ name }: ServerAddress, checkInMs: number): void {
    for (const registration of this.#registrations.values()) registration.pause();
    this.#notify({ kind: 'superseded', server: name, checkInMs });
  }

  #resume(): void {
    for (const registration of this.#registrations.values()) registration.resume();
  }

  #onCapabilitiesAccepted(registration: ServerRegistration, registered: Replica): void {
    this.#wasRegistered = true;
    this.#refusing.delete(registration);
    this.#accepted = registered;
    this.#settleUpdateIfAccepted();
  }

  /** Returns `retry` if newer capabilities are pending, or the last accepted ones apply again. */
  #onCapabilitiesRefused(refused: Replica, error: AnyserveError): 'retry' | 'wait' {
    if (this.#replica.capabilities !== refused.capabilities) return 'retry';
    if (!this.#accepted || this.#accepted.capabilities === refused.capabilities) return 'wait';
    this.#replica = this.#accepted;
    this.#settleUpdate(error);
    this.#sendCapabilities();
    return 'retry';
  }

  #settleUpdateIfAccepted(): void {
    const held = this.#held;
    if (held.length > 0 && held.every(({ hasCurrentCapabilities }) => hasCurrentCapabilities)) this.#settleUpdate();
  }

  #settleUpdate(error?: AnyserveError): void {
    const update = this.#update;
    this.#update = undefined;
    update?.settle(error);
  }

  /** Calls the listener. */
  #notify(change: LeaseChange): void {
    callUser(() => this.#options.onChange?.(change, this.#replica));
  }

  /** Copies the load, because the numbers of the original can change. */
  #getLoad(): ReplicaLoad | undefined {
    const { getLoad } = this.#options;
    return getLoad && toLoad(callUser(getLoad));
  }
}

/** Calls a function of the user. Its errors are reported as uncaught exceptions, so that they don't count as connection failures. */
function callUser<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return undefined;
  }
}

function createEndedError(): AnyserveError {
  return new AnyserveError('interrupted', 'the registration has ended');
}
