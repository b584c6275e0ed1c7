import type { LeaseChange } from '../client/lease-change.js';
import type { Replica } from '../core/replica.js';
import type { CommandIo } from './command.js';
import { changeTeller, seconds } from './output.js';

/** Tells each change of a registration: a line for people, or a JSON object a line. */
export function leaseReporter(
  json: boolean,
  io: Pick<CommandIo, 'stdout' | 'env'>,
): (change: LeaseChange, replica: Replica) => void {
  const tell = changeTeller(json, io);
  return (change, replica) =>
    tell(change.kind === 'registered' || change.kind === 'updated', sentence(change, replica), record(change, replica));
}

function sentence(change: LeaseChange, { id, endpoint, capabilities }: Replica): string {
  switch (change.kind) {
    case 'registered':
      return `registered ${id} (${endpoint}) with ${change.server}`;
    case 'updated':
      return `updated ${id} at ${change.server}: ${capabilities.map(({ source }) => source).join(' ')}`;
    case 'lost':
      return `unregistered ${id}: ${change.error.message}; next try in ${seconds(change.retryInMs)}`;
    case 'superseded':
      return `superseded ${id}: another process registered it with ${change.server}; standing by, next look in ${seconds(change.retryInMs)}`;
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
