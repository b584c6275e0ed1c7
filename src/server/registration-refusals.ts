import type { IncomingMessage } from 'node:http';
import type { ErrorCode } from '../core/errors.js';
import { toHost } from '../core/host.js';
import type { ReplicaId } from '../core/ids.js';
import type { Events, RegistryEvent } from '../core/ports.js';
import type { Scope } from '../core/scope.js';

/** A refused registration. The reason never contains a token. */
export interface RegistrationRefusal {
  readonly code: ErrorCode;
  readonly reason: string;
  /** Undefined if the request was refused before its replica id was known. */
  readonly replicaId?: ReplicaId | undefined;
  /** The scope of the token of the request. Undefined if the request was refused before its token was known. */
  readonly scope?: Scope | undefined;
}

/** Emits the event for a refused `POST /register`. */
export function emitRefusal(
  events: Events<RegistryEvent>,
  { socket }: Pick<IncomingMessage, 'socket'>,
  { code, reason, replicaId, scope }: RegistrationRefusal,
): void {
  events.emit({ kind: 'registration_refused', replicaId, host: toHost(socket.remoteAddress), code, reason, scope });
}
