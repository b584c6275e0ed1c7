import type { LeaseChange } from '../client/lease-change.js';
import { formatSeconds } from '../core/durations.js';
import type { Replica } from '../core/replica.js';
import type { ChangePrinter, ChangeRecord } from './output.js';

const SUCCESSES: ReadonlySet<LeaseChange['kind']> = new Set(['registered', 'updated', 'shared']);

/** Creates a reporter of lease changes. */
export function createLeaseReporter(print: ChangePrinter): (change: LeaseChange, replica: Replica) => void {
  return (change, replica) =>
    print(SUCCESSES.has(change.kind), formatLeaseChange(change, replica), toRecord(change, replica));
}

/** Maximum number of capabilities in a line. An engine can have thousands of models. */
const MAX_PRINTED_CAPABILITIES = 8;

/** Maximum number of characters of capabilities in a line. */
const MAX_PRINTED_CHARACTERS = 1000;

function formatCapabilities(capabilities: Replica['capabilities']): string {
  if (capabilities.length === 0) return 'no capabilities';
  const printed: string[] = [];
  let characters = 0;
  for (const { source } of capabilities) {
    characters += source.length;
    if (printed.length === MAX_PRINTED_CAPABILITIES || characters > MAX_PRINTED_CHARACTERS) break;
    printed.push(source);
  }
  const more = capabilities.length - printed.length;
  return [...printed, ...(more > 0 ? [`and ${more} more`] : [])].join(' ');
}

function formatLeaseChange(change: LeaseChange, { id, endpoint, capabilities }: Replica): string {
  switch (change.kind) {
    case 'registered':
      return `registered ${id} (${endpoint}) with ${change.server}`;
    case 'updated':
      return `updated ${id} at ${change.server}: ${formatCapabilities(capabilities)}`;
    case 'lost':
      return formatLoss(change, id);
    case 'superseded':
      return `superseded ${id}: another process registered it with ${change.server}; standing by, checking again in ${formatSeconds(change.checkInMs)}`;
    case 'misrouted':
      return `misrouted ${id}: two independent API servers answer at ${change.server}; list them one by one`;
    case 'local':
      return `local ${id}: only ${change.server} has the registration, and no other API server of its registry: ${change.reason}`;
    case 'shared':
      return `shared ${id}: all API servers of the registry of ${change.server} can have the registration again`;
    default:
      return change satisfies never;
  }
}

function formatLoss({ error, retryInMs, registeredWith }: LeaseChange & { readonly kind: 'lost' }, id: string): string {
  const reason = `${error.message}; retrying in ${formatSeconds(retryInMs)}`;
  if (registeredWith.length === 0) return `unregistered ${id}: ${reason}`;
  return `reconnecting ${id}: ${reason}; still registered with ${registeredWith.join(', ')}`;
}

function toRecord(change: LeaseChange, { id, endpoint }: Replica): ChangeRecord {
  const replica = { replica_id: id, endpoint };
  switch (change.kind) {
    case 'registered':
      return { state: 'registered', ...replica, server: change.server };
    case 'updated':
      return { state: 'updated', ...replica, server: change.server };
    case 'lost':
      return {
        state: 'lost',
        ...replica,
        server: change.server,
        error: change.error.message,
        retry_in_ms: Math.round(change.retryInMs),
        registered_with: change.registeredWith,
      };
    case 'superseded':
      return { state: 'superseded', ...replica, server: change.server, check_in_ms: Math.round(change.checkInMs) };
    case 'misrouted':
      return { state: 'misrouted', ...replica, server: change.server };
    case 'local':
      return { state: 'local', ...replica, server: change.server, reason: change.reason };
    case 'shared':
      return { state: 'shared', ...replica, server: change.server };
    default:
      return change satisfies never;
  }
}
