import type { AnyserveError } from './errors.js';
import type { LeaseId } from './ids.js';
import type { LeaseExpiry } from './lease-expiry.js';
import type { Lease, LeaseTable } from './lease-table.js';
import type { Clock } from './ports.js';
import { estimateRegistrationBytes } from './registration-bytes.js';
import { checkByteLimits, type RegistryLimits } from './registry-limits.js';
import type { DeclaredState, Replica } from './replica.js';
import type { ReplicaList } from './replica-list.js';

/** Outcome of a renewal: the lease is renewed, a newer registration has taken its replica id, or the lease does not exist. */
export type RenewalStatus = 'renewed' | 'superseded' | 'unknown';

/**
 * Outcome of a renewal that can report a state and capabilities. With `too_soon`, or an error because the registry has no room,
 * the lease is renewed, but the reported state and capabilities are not applied.
 */
export type RenewalResult = RenewalStatus | 'too_soon' | AnyserveError;

/** Returns a replica with new capabilities, given the current one. */
export type CapabilityUpdate<R extends Replica = Replica> = (present: R) => R;

/** Dependencies of lease renewals. */
export interface LeaseRenewalsOptions<R extends Replica = Replica> {
  readonly clock: Clock;
  readonly list: ReplicaList<R>;
  readonly leases: LeaseTable;
  readonly expiry: LeaseExpiry<R>;
  readonly limits: RegistryLimits;
}

/** Minimum time between two changes of a replica's capabilities, in ms. A change can cost as much as a registration. */
const CAPABILITY_UPDATE_INTERVAL_MS = 1000;

/**
 * Limit on how often a replica with a large registration becomes ready, in bytes of its registration per ms. The limit exists
 * because one short renewal makes the index add the whole registration. Smaller registrations have no limit.
 */
const READY_BYTES_PER_MS = 256;
const LARGE_REGISTRATION_BYTES = 64 * 1024;

/** Renews leases, and applies the state and the capabilities that replicas report with a renewal. */
export class LeaseRenewals<R extends Replica = Replica> {
  readonly #options: LeaseRenewalsOptions<R>;

  constructor(options: LeaseRenewalsOptions<R>) {
    this.#options = options;
  }

  /** Returns why a lease can't be renewed; undefined if it can. See `Registry.findRenewalRefusal`. */
  findRefusal(id: LeaseId): 'superseded' | 'unknown' | undefined {
    if (this.#options.leases.get(id)) return undefined;
    return this.#options.leases.wasSuperseded(id, this.#options.clock.nowMs()) ? 'superseded' : 'unknown';
  }

  /** Renews a lease. See `Registry.renew`. */
  async renew(
    id: LeaseId,
    declared?: DeclaredState,
    update?: CapabilityUpdate<R>,
    seq?: number,
  ): Promise<RenewalResult> {
    const result = await this.#renew(id, declared, update, seq);
    this.#options.leases.counts.addRenewal(result);
    return result;
  }

  async #renew(
    id: LeaseId,
    declared: DeclaredState | undefined,
    update: CapabilityUpdate<R> | undefined,
    seq: number | undefined,
  ): Promise<RenewalResult> {
    const lease = this.#options.leases.get(id);
    if (!lease) return this.findRefusal(id) ?? 'unknown';
    if (!recordSeq(lease, seq)) {
      await this.#options.expiry.applyRenewal(lease);
      return 'renewed';
    }
    const isTooSoon = update !== undefined && this.#options.clock.nowMs() < lease.nextCapabilityUpdateAtMs;
    if (update && !isTooSoon) return this.#renewWithCapabilities(lease, declared, update);
    const becomesReady = declared === 'ready' && lease.declared !== 'ready';
    const isDelayed = isTooSoon || (becomesReady && !takeReadyTurn(lease, this.#options.clock.nowMs()));
    await this.#options.expiry.applyRenewal(lease, isDelayed ? undefined : declared);
    return isDelayed ? 'too_soon' : 'renewed';
  }

  /** Renews a lease with new capabilities. Records the new size before the store is written, and restores the old one on failure. */
  async #renewWithCapabilities(
    lease: Lease,
    declared: DeclaredState | undefined,
    update: CapabilityUpdate<R>,
  ): Promise<RenewalResult> {
    const present = this.#options.list.get(lease.replicaId);
    if (present?.lease !== lease.id) return 'unknown';
    const replica = update(present.replica);
    const { host, bytes: bytesBefore } = lease;
    const bytes = estimateRegistrationBytes(replica);
    const refusal = checkByteLimits(this.#options.leases, this.#options.limits, { host, bytes, replaced: lease });
    if (refusal) {
      await this.#options.expiry.applyRenewal(lease);
      return refusal;
    }
    lease.nextCapabilityUpdateAtMs = this.#options.clock.nowMs() + CAPABILITY_UPDATE_INTERVAL_MS;
    this.#options.leases.resize(lease, bytes);
    try {
      await this.#options.expiry.applyRenewal(lease, declared, replica);
    } catch (error) {
      this.#options.leases.resize(lease, bytesBefore);
      throw error;
    }
    return 'renewed';
  }
}

/** Returns whether a replica can become ready or routable now, and limits when it can do so again. */
export function takeReadyTurn(lease: Lease, nowMs: number): boolean {
  if (lease.bytes < LARGE_REGISTRATION_BYTES) return true;
  if (nowMs < lease.nextReadyAtMs) return false;
  lease.nextReadyAtMs = nowMs + lease.bytes / READY_BYTES_PER_MS;
  return true;
}

/** Records the number of a change. Returns false if the holder has made a newer change, so that this one must not apply. */
function recordSeq(lease: Lease, seq: number | undefined): boolean {
  const { instance } = lease;
  if (seq === undefined || !instance || seq === instance.seq) return true;
  if (seq < instance.seq) return false;
  lease.instance = { id: instance.id, startedMs: instance.startedMs, seq };
  return true;
}
