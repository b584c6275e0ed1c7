import { getErrorMessage } from './errors.js';
import type { LeaseId } from './ids.js';
import type { Lease, LeaseTable } from './lease-table.js';
import type { Clock, Events, RegistrationStore, RegistryEvent } from './ports.js';
import type { DeclaredState, InferredEnd, Replica } from './replica.js';
import type { Accusation, SelfPreservation } from './self-preservation.js';

/** Evidence that a lease's holder has gone silent. */
export interface Silence extends Pick<Accusation, 'timerDelayMs' | 'isLossy'> {
  /**
   * Minimum time since the last renewal, in ms. A lease with a later renewal is not silent. Applies to leases with a TTL.
   * Default: 0.
   */
  readonly minSilentMs?: number;
}

/** Dependencies of lease expiry. */
export interface LeaseExpiryOptions<R extends Replica = Replica> {
  readonly store: RegistrationStore<R>;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent>;
  readonly leases: LeaseTable;
  readonly selfPreservation: SelfPreservation;
}

/** Maximum duration of a suspicion, in ms. When it passes, the lease ends. */
const MAX_SUSPICION_MS = 60_000;

/**
 * Decides what happens to leases whose holders fall silent. A two-way lease that is not renewed expires. A silent lease is
 * removed, or only suspected if self-preservation decides that. A sign of life ends a suspicion.
 */
export class LeaseExpiry<R extends Replica = Replica> {
  readonly #options: LeaseExpiryOptions<R>;
  /** Cancels the timer that waits for the end of self-preservation; undefined while it is off. */
  #cancelPreservationTimer: (() => void) | undefined;

  constructor(options: LeaseExpiryOptions<R>) {
    this.#options = options;
  }

  /** Starts the timer of a two-way lease. A renewal doesn't restart it: the timer checks and waits again. */
  watch(lease: Lease): void {
    const { clock } = this.#options;
    const { id, ttlMs } = lease;
    lease.cancelTimer();
    if (ttlMs === undefined) return;
    this.#arm(lease, lease.seenAtMs + ttlMs - clock.nowMs(), (timerDelayMs) => {
      if (lease.seenAtMs + ttlMs > clock.nowMs()) this.watch(lease);
      else this.#runInBackground(this.accuse(id, 'expired', { timerDelayMs }));
    });
  }

  /** Removes or suspects a silent lease. A suspected lease ends after 60 s without a sign of life. */
  async accuse(
    id: LeaseId,
    end: InferredEnd,
    { timerDelayMs, minSilentMs = 0, isLossy = false }: Silence,
  ): Promise<void> {
    const { store, clock, events, leases, selfPreservation } = this.#options;
    const lease = leases.get(id);
    if (!lease || lease.suspected) return;
    const nowMs = clock.nowMs();
    const { host, replicaId } = lease;
    if (lease.ttlMs !== undefined && nowMs - lease.seenAtMs < minSilentMs) return;
    const others = store.countOtherHosts?.();
    const verdict = selfPreservation.judge({ host, isLossy, timerDelayMs, nowMs, hosts: leases.hosts, others });
    if (nowMs < selfPreservation.activeUntilMs && !this.#cancelPreservationTimer) this.#enterSelfPreservation();
    if (verdict === 'remove') return store.delete(id, end);
    lease.suspected = end;
    events.emit({ kind: 'suspected', replicaId, host, reason: end });
    this.#arm(lease, MAX_SUSPICION_MS, () => this.#runInBackground(store.delete(id, end)));
    // An unready or draining replica gets no calls, so a suspicion must not make it routable.
    if (lease.declared === 'ready') await store.change(id, { state: 'suspect', sinceEpochMs: clock.epochMs() });
  }

  /** Records a sign of life that is not a renewal. Ends a suspicion, and starts the TTL of a two-way lease again. */
  async recordSignOfLife(lease: Lease): Promise<void> {
    const isStateChange = lease.declared === 'ready' && lease.suspected !== undefined;
    this.#endSilence(lease);
    if (isStateChange) await this.#change(lease, true);
  }

  /** Renews a lease, with the state and capabilities that the replica reported. Ends a suspicion. */
  async applyRenewal(lease: Lease, declared: DeclaredState = lease.declared, replica?: R): Promise<void> {
    const { ttlMs, suspected, replicaId, host } = lease;
    const isStateChange = declared !== lease.declared || (declared === 'ready' && suspected !== undefined);
    lease.declared = declared;
    const silentMs = this.#endSilence(lease);
    if (suspected !== undefined && ttlMs !== undefined && silentMs > ttlMs) {
      this.#options.events.emit({ kind: 'renewed_late', replicaId, host, lateMs: silentMs - ttlMs });
    }
    if (isStateChange || replica) await this.#change(lease, isStateChange, replica);
  }

  /** Whether self-preservation is active. */
  get isInSelfPreservation(): boolean {
    return this.#cancelPreservationTimer !== undefined;
  }

  /** Cancels the timer of self-preservation. The timers of leases end with the leases. */
  close(): void {
    this.#cancelPreservationTimer?.();
    this.#cancelPreservationTimer = undefined;
  }

  /** Records a sign of life of the holder, and ends a suspicion. Returns how long the holder was silent, in ms. */
  #endSilence(lease: Lease): number {
    const { clock, events } = this.#options;
    const { replicaId, host, declared: state, suspected } = lease;
    const nowMs = clock.nowMs();
    const silentMs = nowMs - lease.seenAtMs;
    lease.seenAtMs = nowMs;
    if (suspected === undefined) return silentMs;
    lease.suspected = undefined;
    events.emit({ kind: 'suspicion_ended', replicaId, host, state, silentMs });
    this.watch(lease);
    return silentMs;
  }

  /** Writes new capabilities, and the declared state if it is a change, to the store. */
  async #change(lease: Lease, isStateChange: boolean, replica?: R): Promise<void> {
    const { store, clock } = this.#options;
    const stateChange = isStateChange ? { state: lease.declared, sinceEpochMs: clock.epochMs() } : {};
    await store.change(lease.id, { ...stateChange, ...(replica && { replica }), instance: lease.instance });
  }

  #enterSelfPreservation(): void {
    this.#options.events.emit({ kind: 'self_preservation_entered' });
    this.#awaitPreservationEnd();
  }

  #awaitPreservationEnd(): void {
    const { clock, selfPreservation, events } = this.#options;
    const check = (): void => {
      this.#cancelPreservationTimer = undefined;
      if (clock.nowMs() < selfPreservation.activeUntilMs) this.#awaitPreservationEnd();
      else events.emit({ kind: 'self_preservation_left' });
    };
    const delayMs = selfPreservation.activeUntilMs - clock.nowMs();
    this.#cancelPreservationTimer = clock.schedule(delayMs, check, { background: true });
  }

  /** Runs a task after a delay, unless the lease ends first. Replaces the timer of the lease: it has only one. */
  #arm(lease: Lease, delayMs: number, task: (timerDelayMs: number) => void): void {
    const { clock } = this.#options;
    const dueAtMs = clock.nowMs() + delayMs;
    lease.cancelTimer();
    lease.cancelTimer = clock.schedule(delayMs, () => task(clock.nowMs() - dueAtMs));
  }

  /** A timer callback has no caller to reject to, so a failure becomes an event. */
  #runInBackground(work: Promise<unknown>): void {
    work.catch((error) => this.#options.events.emit({ kind: 'store_failed', error: getErrorMessage(error) }));
  }
}
