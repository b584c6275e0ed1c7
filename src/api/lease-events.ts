import type { ReplicaId } from '../core/ids.js';

/** The status of an event on a lease stream. Statuses added by newer servers are `unknown`. */
export type LeaseEvent = 'registered' | 'alive' | 'superseded' | 'unknown';

/** The event sent at every heartbeat. */
export const ALIVE_EVENT = formatEvent('{"status": "alive"}');

/** Formats the first event of a lease. */
export function formatRegisteredEvent(id: ReplicaId): string {
  return formatEvent(`{"status": "registered", "replica_id": ${toAsciiJson(id)}}`);
}

/** Formats the last event of a lease whose replica id was taken over by a newer registration. */
export function formatSupersededEvent(id: ReplicaId): string {
  return formatEvent(`{"status": "superseded", "replica_id": ${toAsciiJson(id)}}`);
}

/** Parses the data of one event. */
export function parseLeaseEvent(data: string): LeaseEvent {
  try {
    const { status } = JSON.parse(data) as { status?: unknown };
    if (status === 'registered' || status === 'alive' || status === 'superseded') return status;
  } catch {
    // The data is not JSON, so it is not an event of this API. The lease keeper's watchdog handles a stream without known events.
  }
  return 'unknown';
}

function formatEvent(data: string): string {
  return `data: ${data}\n\n`;
}

/** Serializes a string as ASCII-only JSON, as the Python server does: everything outside of ` ` to `~` is escaped. */
function toAsciiJson(text: string): string {
  return JSON.stringify(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
