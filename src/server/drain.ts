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

/** Time between two batches, in ms. */
const STEP_MS = 50;

/** How to spread work over time. */
export type SpreadOptions = Pick<DrainOptions, 'clock' | 'durationMs' | 'signal'>;

/**
 * Handles all items, spread evenly over the duration. Resolves to their number, or when the signal is aborted to the number of
 * those that were handled.
 */
export async function spreadEvenly<T>(
  items: readonly T[],
  handle: (item: T) => unknown,
  { clock, durationMs, signal }: SpreadOptions,
): Promise<number> {
  const startedAtMs = clock.nowMs();
  let handled = 0;
  while (handled < items.length && !signal?.aborted) {
    await new Promise<void>((resolve) => void clock.schedule(STEP_MS, resolve));
    const share = Math.min(1, (clock.nowMs() - startedAtMs) / durationMs);
    const due = Math.ceil(items.length * share);
    const batch = items.slice(handled, due);
    handled = due;
    await Promise.all(batch.map(handle));
  }
  return handled;
}

/**
 * Ends all leases of this server, spread evenly over the duration. If all ended at once, all their replicas would
 * register with another server at the same moment.
 */
export async function drainLeases({ registry, events, ...spread }: DrainOptions): Promise<void> {
  const leases = [...registry.known()].flatMap(({ registration, lease }) => (lease ? [registration.lease] : []));
  if (leases.length === 0) return;
  events.emit({ kind: 'drain_started', leases: leases.length, durationMs: spread.durationMs });
  const ended = await spreadEvenly(leases, (lease) => registry.release(lease, 'shutdown'), spread);
  events.emit({ kind: 'drain_ended', leases: leases.length, ended });
}
