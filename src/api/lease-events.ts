import type { ReplicaId } from '../core/ids.js';

/** What the stream of a lease says, as its reader tells it apart. An event of a newer server is `unknown`. */
export type LeaseEvent = 'registered' | 'alive' | 'superseded' | 'unknown';

/** The event at every heartbeat. */
export const ALIVE_EVENT = event('{"status": "alive"}');

/** The first event of a lease. */
export function formatRegisteredEvent(id: ReplicaId): string {
  return event(`{"status": "registered", "replica_id": ${asciiJson(id)}}`);
}

/** The last event of a lease whose id a newer registration has taken. */
export function formatSupersededEvent(id: ReplicaId): string {
  return event(`{"status": "superseded", "replica_id": ${asciiJson(id)}}`);
}

/** Reads the data of one event. */
export function parseLeaseEvent(data: string): LeaseEvent {
  try {
    const { status } = JSON.parse(data) as { status?: unknown };
    if (status === 'registered' || status === 'alive' || status === 'superseded') return status;
  } catch {
    // Not ours: what cannot be read says nothing, and the silence limit watches over a stream that says nothing.
  }
  return 'unknown';
}

function event(data: string): string {
  return `data: ${data}\n\n`;
}

/** A JSON string in ASCII alone, as the original writes it: everything outside of ` ` to `~` is escaped. */
function asciiJson(text: string): string {
  return JSON.stringify(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
