import type { Clock, Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';

/** Options of {@link drainLeases}. */
export interface DrainOptions {
  readonly registry: Pick<Registry, 'known' | 'release'>;
  readonly clock: Clock;
  readonly events: Events<ServerEvent>;
  /** Duration of the drain, in ms. */
  readonly durationMs: number;
  /** Stops the drain when aborted. The remaining leases end when the registry is closed. */
  readonly signal?: AbortSignal | undefined;
}

/** Time between two batches of ended leases. */
const DRAIN_STEP_MS = 50;

/**
 * Ends all leases of this server, spread evenly over the duration. If all ended at once, all their replicas would
 * register with another server at the same moment.
 */
export async function drainLeases({ registry, clock, events, durationMs, signal }: DrainOptions): Promise<void> {
  const leases = [...registry.known()].flatMap(({ registration, lease }) => (lease ? [registration.lease] : []));
  if (leases.length === 0) return;
  const startedAtMs = clock.nowMs();
  let ended = 0;
  events.emit({ kind: 'drain_started', leases: leases.length, durationMs });
  while (ended < leases.length && !signal?.aborted) {
    await new Promise<void>((resolve) => void clock.schedule(DRAIN_STEP_MS, resolve));
    const due = Math.ceil(leases.length * Math.min(1, (clock.nowMs() - startedAtMs) / durationMs));
    const batch = leases.slice(ended, due);
    ended = due;
    await Promise.all(batch.map((lease) => registry.release(lease, 'shutdown')));
  }
  events.emit({ kind: 'drain_ended', leases: leases.length, ended });
}
