import type { Cordon } from '../core/cordon.js';
import type { ReplicaId } from '../core/ids.js';
import type { Instance } from '../core/replica.js';
import { serializeCordon, toCordon } from './cordon-json.js';
import { toInstance } from './instance-json.js';

/**
 * Protocol of a lease stream that also takes renewals, for the header `upgrade` of `POST /register`. The server sends the events of
 * the stream, without HTTP framing. The client sends renewals: each is the body of `PUT /leases/{lease}` in one line, and is
 * sent after the event that responds to the previous one.
 */
export const LEASE_PROTOCOL = 'anyserve-lease';

/** Maximum length of a renewal on a lease stream, in bytes. A longer one must be sent as a request. */
export const MAX_RENEWAL_LINE_BYTES = 4096;

/** An event on a lease stream. Those that newer servers add are `unknown`. */
export type LeaseEvent =
  | { readonly status: 'registered' | 'alive' | 'unknown' }
  /** The response to a renewal on the stream. `cordon` is the one that the server knows. */
  | { readonly status: 'renewed'; readonly cordon: Cordon | undefined }
  /** A renewal on the stream was not accepted. The response to the same renewal in a request says why. */
  | { readonly status: 'not_renewed' }
  /** The registration is only in this server, so replicas and callers of the other servers don't know it. */
  | { readonly status: 'local'; readonly reason: string }
  /** The other servers of the registry can have the registration again. */
  | { readonly status: 'shared' }
  /** `by` is the process that took the replica id. Undefined if it registered without an instance. */
  | { readonly status: 'superseded'; readonly by: Instance | undefined };

/** The event sent at every heartbeat. */
export const ALIVE_EVENT = formatEvent('{"status": "alive"}');

/** The response to a renewal on the stream, if the replica was never cordoned. */
export const RENEWED_EVENT = formatEvent('{"status": "renewed"}');

/** The response to a renewal on the stream that is not accepted. */
export const NOT_RENEWED_EVENT = formatEvent('{"status": "not_renewed"}');

/** Formats the response to a renewal on the stream, with the cordon of the replica. */
export function formatRenewedEvent(cordon: Cordon): string {
  return formatEvent(`{"status": "renewed", "cordon": ${serializeCordon(cordon)}}`);
}

/** Formats the first event of a lease. */
export function formatRegisteredEvent(id: ReplicaId): string {
  return formatEvent(`{"status": "registered", "replica_id": ${toAsciiJson(id)}}`);
}

/** The event sent when other servers can have a registration that was local. */
export const SHARED_EVENT = formatEvent('{"status": "shared"}');

/** Formats the event of a registration that is only in this server. */
export function formatLocalEvent(reason: string): string {
  return formatEvent(`{"status": "local", "reason": ${toAsciiJson(reason)}}`);
}

/** Formats the last event of a lease whose replica id was taken over by a newer registration, and by which process. */
export function formatSupersededEvent(id: ReplicaId, by?: Instance): string {
  const instance = by ? `, "instance": {"id": "${by.id}", "startedMs": ${by.startedMs}}` : '';
  return formatEvent(`{"status": "superseded", "replica_id": ${toAsciiJson(id)}${instance}}`);
}

/** Parses the data of one event. */
export function parseLeaseEvent(data: string): LeaseEvent {
  try {
    const { status, instance, cordon, reason } = JSON.parse(data) as Readonly<Record<string, unknown>>;
    if (status === 'registered' || status === 'alive' || status === 'not_renewed' || status === 'shared')
      return { status };
    if (status === 'local') return { status, reason: String(reason) };
    if (status === 'renewed') return { status, cordon: toCordon(cordon) };
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
