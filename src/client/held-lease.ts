import { type LeaseEvent, parseLeaseEvent } from '../api/lease-events.js';
import type { Capability } from '../core/capability.js';
import type { AnyserveError } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import type { DeclaredState, Instance, Replica } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import type { CordonRelay } from './cordon-relay.js';
import { EventTooLongError, readEventData } from './event-stream.js';
import type { OpenLease } from './lease-client.js';
import { watchLeaseStream } from './lease-stream-watchdog.js';
import { Renewals } from './renewals.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for the release of a lease, in ms. After it, the connection is closed without a response. */
const RELEASE_TIMEOUT_MS = 1000;

/**
 * Time after the last sign of life of the server that granted the lease, in ms. If another server of the registry reports after it
 * that the owner does not respond, the lease is given up. The replica registers again before its record in the store ends.
 */
const OWNER_SILENCE_TIMEOUT_MS = 4000;

/**
 * Number of renewals after which the listed address is checked, if the lease is renewed at another address. Independent servers
 * that take turns at the listed address would not be noticed otherwise.
 */
const ADDRESS_CHECKS = 5;

/** Maximum number of bytes of a lease stream between two events. The longest event contains a replica id. */
const MAX_EVENT_BYTES = 64 * 1024;

/**
 * Interval at which the list is checked for the replica, in ms. Only at servers without lease ids: they remove by replica
 * id, so the end of an old connection can remove a new registration.
 */
const LISTING_POLL_MS = 30_000;

/** The end of a lease. `left` means that the keeper gave it up. */
export type HeldLeaseEnd =
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'left' }
  /** `by` is the process that took the replica id, if it is known. */
  | { readonly kind: 'superseded'; readonly by: Instance | undefined };

/** The replica and its state, as registered with a lease. */
export interface RegisteredReplica {
  readonly replica: Replica;
  readonly state: DeclaredState;
  /** Undefined if it isn't known. */
}

/** Options of a {@link HeldLease}. */
export interface HeldLeaseOptions extends RegisteredReplica {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly ttlMs: number;
  /** The cordons that the servers report. */
  readonly cordons: CordonRelay<ServerAddress>;
  /** Aborted when the keeper gives the lease up. */
  readonly signal: AbortSignal;
  /** Whether to check if the server still lists the replica. */
  readonly watchesList: boolean;
  /** Called once, when the server has confirmed the registration on the stream. */
  readonly onRegistered: () => void;
  /** Called when the server has accepted new capabilities, or with an error if it refuses them. */
  readonly onCapabilities: (capabilities: readonly Capability[], error?: AnyserveError) => void;
  /** Returns the number of the last change by this process. */
  readonly getSeq: () => number;
  /** Returns the current load of the replica. Undefined if it isn't known. */
  readonly getLoad: () => ReplicaLoad | undefined;
  /** Called when the server has accepted a renewal, and with it a state. */
  readonly onState: () => void;
  /** Called when the registration is only in this server, with the reason, and with undefined when it is shared again. */
  readonly onSharing: (problem: string | undefined) => void;
  /** Called once, when servers with different registries respond at the server's address. */
  readonly onMisrouted: () => void;
}

/** A lease that was granted: reads its stream, renews it, watches the server, and releases the lease when it is given up. */
export class HeldLease {
  readonly #lease: OpenLease;
  readonly #options: HeldLeaseOptions;
  readonly #renewals: Renewals | undefined;
  readonly #streamEnded = new AbortController();
  #acceptedState: DeclaredState;
  #acceptedCapabilities: readonly Capability[];
  /** Resolves when the release of the lease has ended; undefined if the lease isn't released. */
  #release: Promise<void> | undefined;
  #recordStreamLife = (): void => {};
  #aliveAtMs: number;
  #addressChecks = 0;
  /** Whether only the server that granted the lease has the registration. */
  #isLocal = false;
  #stopWatchingList = (): void => {};
  #isRegistered = false;
  #superseded: { readonly by: Instance | undefined } | undefined;
  #lossReason: string | undefined;

  constructor(lease: OpenLease, options: HeldLeaseOptions) {
    this.#lease = lease;
    this.#options = options;
    this.#aliveAtMs = options.clock.nowMs();
    this.#acceptedState = options.state;
    this.#acceptedCapabilities = options.replica.capabilities;
    this.#renewals = lease.id === undefined ? undefined : this.#createRenewals();
  }

  /** Whether the server can receive new states and capabilities. */
  get isTwoWay(): boolean {
    return this.#renewals !== undefined;
  }

  /** The state that the server last accepted for this lease. */
  get acceptedState(): DeclaredState {
    return this.#acceptedState;
  }

  /** The capabilities that the server last accepted for this lease. */
  get acceptedCapabilities(): readonly Capability[] {
    return this.#acceptedCapabilities;
  }

  /** Starts the renewals and the watches. */
  start(): void {
    const { api, clock, signal, watchesList } = this.#options;
    this.#recordStreamLife = watchLeaseStream(this.#lease.server, {
      api,
      clock,
      signal: this.#streamEnded.signal,
      onLost: (reason) => this.#lose(reason),
    });
    signal.addEventListener('abort', this.#giveUp, { once: true });
    if (signal.aborted) this.#giveUp();
    this.#renewals?.start();
    if (watchesList) this.#watchList();
  }

  /** Reports a new state of the replica. Has no effect for a one-way lease. */
  declare(state: DeclaredState): void {
    this.#renewals?.declare(state);
  }

  /** Reports new capabilities of the replica. Has no effect for a one-way lease. */
  replaceCapabilities(capabilities: readonly Capability[]): void {
    this.#renewals?.replaceCapabilities(capabilities);
  }

  /** Renews the lease at once, if the server doesn't know the newest cordon. Has no effect for a one-way lease. */
  sendCordon(): void {
    if (this.#options.cordons.findUnknownTo(this.#lease.server)) this.#renewals?.renewNow();
  }

  /** Reads the lease's stream until it ends for any reason. */
  async follow(): Promise<HeldLeaseEnd> {
    const { body } = this.#lease;
    const { signal } = this.#options;
    try {
      for await (const data of readEventData(body, MAX_EVENT_BYTES)) {
        this.#recordSignOfLife();
        this.#handleEvent(parseLeaseEvent(data));
      }
    } catch (error) {
      if (error instanceof EventTooLongError) this.#lossReason = error.message;
      else this.#lossReason ??= 'the connection broke';
    } finally {
      this.#streamEnded.abort();
      this.#renewals?.stop();
      this.#stopWatchingList();
      signal.removeEventListener('abort', this.#giveUp);
      body.destroy();
    }
    if (this.#superseded) return { kind: 'superseded', ...this.#superseded };
    return signal.aborted ? { kind: 'left' } : { kind: 'lost', reason: this.#lossReason ?? 'it closed the stream' };
  }

  /** Waits until the release of a lease that was given up has ended. */
  async waitForRelease(): Promise<void> {
    await this.#release;
  }

  #handleEvent(event: LeaseEvent): void {
    this.#lease.connection?.handleEvent(event);
    if (event.status === 'superseded') this.#superseded = { by: event.by };
    if (event.status === 'local' || event.status === 'shared') this.#recordSharing(event);
    if (event.status !== 'registered' || this.#isRegistered) return;
    this.#isRegistered = true;
    this.#options.onRegistered();
  }

  #createRenewals(): Renewals {
    const { api, clock, ttlMs, state, cordons, onCapabilities, getSeq, getLoad, onState, onMisrouted } = this.#options;
    return new Renewals(state, {
      renew: async (report, signal) => {
        const { server } = this.#lease;
        const { reply, cordon } = await api.leases.renew(
          this.#lease,
          { ...report, cordon: cordons.findUnknownTo(server) },
          signal,
        );
        // Another server does not know a lease that only its owner has.
        if (reply === 'owner_silent' || (reply === 'unknown' && this.#isLocal)) return this.#checkOwner();
        if (reply !== 'renewed') return reply;
        // Packet loss can delay the stream for a long time while the lease is alive. If it ends, a renewal reports that too.
        this.#recordSignOfLife();
        cordons.record(server, cordon);
        void this.#checkAddress(signal);
        return reply;
      },
      ttlMs,
      clock,
      onCapabilities: (capabilities, error) => {
        if (!error) this.#acceptedCapabilities = capabilities;
        onCapabilities(capabilities, error);
      },
      getSeq,
      getLoad,
      onState: (accepted) => {
        this.#acceptedState = accepted;
        onState();
      },
      onMisrouted,
      onEnd: (end) => {
        if (end === 'superseded') this.#superseded ??= { by: undefined };
        this.#lose('it no longer knows the lease');
      },
    });
  }

  #recordSignOfLife(): void {
    this.#aliveAtMs = this.#options.clock.nowMs();
    this.#recordStreamLife();
  }

  #recordSharing(event: LeaseEvent & { readonly status: 'local' | 'shared' }): void {
    this.#isLocal = event.status === 'local';
    this.#options.onSharing(event.status === 'local' ? event.reason : undefined);
  }

  /** Gives the lease up if its stream is silent too. Otherwise the other servers have no connection to the owner, but it is alive. */
  #checkOwner(): 'owner_silent' {
    const silentMs = this.#options.clock.nowMs() - this.#aliveAtMs;
    if (silentMs >= OWNER_SILENCE_TIMEOUT_MS) this.#lose('the API server that granted the lease does not respond');
    return 'owner_silent';
  }

  /** Checks whether a server with another registry responds at the listed address. */
  async #checkAddress(signal: AbortSignal): Promise<void> {
    if (!this.#lease.owner || this.#addressChecks >= ADDRESS_CHECKS) return;
    this.#addressChecks++;
    const isMisrouted = await this.#options.api.leases.isMisrouted(this.#lease, signal).catch(() => false);
    if (isMisrouted) this.#renewals?.recordMisrouting();
  }

  #lose(reason: string): void {
    this.#lossReason = reason;
    this.#lease.body.destroy();
  }

  /** Releases the lease, then closes the stream. */
  readonly #giveUp = (): void => {
    this.#release = this.#releaseLease().finally(() => this.#lease.body.destroy());
  };

  /** Releases a two-way lease. Gives up after 1 s. */
  async #releaseLease(): Promise<void> {
    if (this.#lease.id === undefined) return;
    const { api, clock } = this.#options;
    const timeout = new AbortController();
    const cancelTimeout = clock.schedule(RELEASE_TIMEOUT_MS, () => timeout.abort());
    await api.leases.release(this.#lease, timeout.signal).catch(() => {});
    cancelTimeout();
  }

  /** Checks periodically whether the server still lists the replica. The lease is lost if it doesn't. */
  #watchList(): void {
    const { api, clock, replica, signal } = this.#options;
    const check = async (): Promise<void> => {
      const ids = await api.listIds(this.#lease.server, signal).catch(() => undefined);
      if (signal.aborted) return;
      if (ids && !ids.includes(replica.id)) this.#lose('it no longer lists the replica');
      else schedule();
    };
    const schedule = (): void => {
      this.#stopWatchingList = clock.schedule(LISTING_POLL_MS, () => void check());
    };
    schedule();
  }
}
