import type { IncomingMessage } from 'node:http';
import type { ErrorCode } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Events, RegistryEvent } from '../core/ports.js';

/** A refused registration. The reason never contains a token. */
export interface RegistrationRefusal {
  readonly code: ErrorCode;
  readonly reason: string;
  /** Undefined if the request was refused before its replica id was known. */
  readonly replicaId?: ReplicaId | undefined;
}

/** Emits the event for a refused `POST /register`. */
export function emitRefusal(
  events: Events<RegistryEvent>,
  { socket }: Pick<IncomingMessage, 'socket'>,
  { code, reason, replicaId }: RegistrationRefusal,
): void {
  events.emit({ kind: 'registration_refused', replicaId, host: toHost(socket.remoteAddress), code, reason });
}

/** Returns the address of the peer. An IPv4 address that arrived over an IPv6 socket is the same host. */
export function toHost(address: string | undefined): string {
  return (address ?? 'unknown').replace(/^::ffff:/, '');
}
