import type { ReplicaId } from '../core/ids.js';
import type { Instance } from '../core/replica.js';
import { toInstance } from './instance-json.js';

/** An event on a lease stream. Those that newer servers add are `unknown`. */
export type LeaseEvent =
  | { readonly status: 'registered' | 'alive' | 'unknown' }
  /** `by` is the process that took the replica id. Undefined if it registered without an instance. */
  | { readonly status: 'superseded'; readonly by: Instance | undefined };

/** The event sent at every heartbeat. */
export const ALIVE_EVENT = formatEvent('{"status": "alive"}');

/** Formats the first event of a lease. */
export function formatRegisteredEvent(id: ReplicaId): string {
  return formatEvent(`{"status": "registered", "replica_id": ${toAsciiJson(id)}}`);
}

/** Formats the last event of a lease whose replica id was taken over by a newer registration, and by which process. */
export function formatSupersededEvent(id: ReplicaId, by?: Instance): string {
  const instance = by ? `, "instance": {"id": "${by.id}", "startedMs": ${by.startedMs}}` : '';
  return formatEvent(`{"status": "superseded", "replica_id": ${toAsciiJson(id)}${instance}}`);
}

/** Parses the data of one event. */
export function parseLeaseEvent(data: string): LeaseEvent {
  try {
    const { status, instance } = JSON.parse(data) as { status?: unknown; instance?: unknown };
    if (status === 'registered' || status === 'alive') return { status };
    if (status === 'superseded') return { status, by: toInstance(instance) };
  } catch {
    // The data is not JSON, so it is not an event of this API. The lease keeper's watchdog handles a stream without known events.
  }
  return { status: 'unknown' };
}

function formatEvent(data: string): string {
  return `data: ${data}\n\n`;
}

/** Serializes a string as ASCII-only JSON, as the Python server does: everything outside of ` ` to `~` is escaped. */
function toAsciiJson(text: string): string {
  return JSON.stringify(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
