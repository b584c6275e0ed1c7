import type { EndedLease, LogDetails, RegistryEvent, ServerEvent } from '../core/ports.js';

/**
 * Returns an event as the details of a log line: `replicaId` becomes `replica`, other names become snake_case, and times are rounded
 * to ms. `last_seen_ms` is the time from the last sign of life of an ended lease to its end. Other members that are objects, such as
 * the scope of a token, are only for subscribers in this process.
 */
export function toLogDetails({ kind, ...members }: RegistryEvent | ServerEvent): LogDetails {
  const fields: Record<string, string | number | undefined> = {};
  for (const [name, value] of Object.entries<unknown>(members)) {
    if (typeof value === 'number') fields[toSnakeCase(name)] = Math.round(value);
    else if (typeof value === 'string') fields[name === 'replicaId' ? 'replica' : toSnakeCase(name)] = value;
  }
  return { event: kind, ...fields, ...('lease' in members ? toLeaseFields(members.lease) : {}) };
}

function toLeaseFields(lease: EndedLease | undefined) {
  if (!lease) return {};
  return { host: lease.host, lived_ms: Math.round(lease.livedMs), last_seen_ms: Math.round(lease.silentMs) };
}

function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
