import type { Clock, Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';

/** How leases are ended. */
export interface DrainOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly events: Events<ServerEvent>;
  /** Over how long it is spread, in milliseconds. */
  readonly overMs: number;
  /** Aborted to leave the rest to whoever closes the registry. */
  readonly signal?: AbortSignal | undefined;
}

const STEP_MS = 50;

/** Ends all leases of this server, spread evenly, so that their holders do not come to another one all at once. */
export async function drainLeases({ registry, clock, events, overMs, signal }: DrainOptions): Promise<void> {
  const leases = [...registry.known()].flatMap(({ registration, lease }) => (lease ? [registration.lease] : []));
  const beganAtMs = clock.nowMs();
  let ended = 0;
  events.emit({ kind: 'drain_started', leases: leases.length, durationMs: overMs });
  while (ended < leases.length && !signal?.aborted) {
    await new Promise<void>((resolve) => void clock.schedule(STEP_MS, resolve));
    const due = Math.ceil(leases.length * Math.min(1, (clock.nowMs() - beganAtMs) / overMs));
    const batch = leases.slice(ended, due);
    ended = due;
    await Promise.all(batch.map((lease) => registry.release(lease, 'shutdown')));
  }
  events.emit({ kind: 'drain_ended', leases: leases.length, ended });
}
