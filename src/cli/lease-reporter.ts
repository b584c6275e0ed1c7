import type { LeaseChange } from '../client/lease-change.js';
import type { Replica } from '../core/replica.js';
import type { CommandIo } from './command.js';
import { createChangePrinter, formatSeconds } from './output.js';

/** Tells each change of a registration: a line for people, or a JSON object a line. */
export function createLeaseReporter(
  json: boolean,
  io: Pick<CommandIo, 'stdout' | 'env'>,
): (change: LeaseChange, replica: Replica) => void {
  const tell = createChangePrinter(json, io);
  return (change, replica) =>
    tell(change.kind === 'registered' || change.kind === 'updated', sentence(change, replica), record(change, replica));
}

/** Capabilities that a line shows. An engine can have thousands of models. */
const MAX_SHOWN = 8;

/** Characters of them that a line shows. */
const MAX_SHOWN_CHARACTERS = 1000;

function offersText(capabilities: Replica['capabilities']): string {
  if (capabilities.length === 0) return 'it offers nothing';
  const shown: string[] = [];
  let characters = 0;
  for (const { source } of capabilities) {
    characters += source.length;
    if (shown.length === MAX_SHOWN || characters > MAX_SHOWN_CHARACTERS) break;
    shown.push(source);
  }
  const more = capabilities.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join(' ');
}

function sentence(change: LeaseChange, { id, endpoint, capabilities }: Replica): string {
  switch (change.kind) {
    case 'registered':
      return `registered ${id} (${endpoint}) with ${change.server}`;
    case 'updated':
      return `updated ${id} at ${change.server}: ${offersText(capabilities)}`;
    case 'lost':
      return `unregistered ${id}: ${change.error.message}; next try in ${formatSeconds(change.retryInMs)}`;
    case 'superseded':
      return `superseded ${id}: another process registered it with ${change.server}; standing by, next look in ${formatSeconds(change.retryInMs)}`;
    default:
      return change satisfies never;
  }
}

function record(change: LeaseChange, { id, endpoint }: Replica): Record<string, unknown> {
  const replica = { replica_id: id, endpoint };
  switch (change.kind) {
    case 'registered':
      return { state: 'registered', ...replica, server: change.server };
    case 'updated':
      return { state: 'updated', ...replica, server: change.server };
    case 'lost':
      return { state: 'lost', ...replica, error: change.error.message, retry_in_ms: Math.round(change.retryInMs) };
    case 'superseded':
      return { state: 'superseded', ...replica, server: change.server, retry_in_ms: Math.round(change.retryInMs) };
    default:
      return change satisfies never;
  }
}
