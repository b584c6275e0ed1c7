import type { SerializedReplica } from './api/serialized-replica.js';
import { AnyserveError } from './core/errors.js';
import { toGetter, type ValueOrGetter } from './core/options.js';
import type { RegistrationStore } from './core/ports.js';
import type { ClientTls, ServerTls } from './core/tls.js';
import type { TokenSet } from './credentials/token-set.js';
import type { LeaseForwarder } from './server/lease-forwarder.js';
import * as system from './system.js';

/** How an API server reaches the others that share its store. */
export interface PeerOptions {
  readonly tls?: ValueOrGetter<ServerTls> | undefined;
  readonly peerToken?: ValueOrGetter<string> | undefined;
  readonly peerTokens?: ValueOrGetter<TokenSet> | undefined;
  readonly peerTls?: ValueOrGetter<ClientTls> | undefined;
}

/**
 * Creates what forwards requests to the other API servers. Undefined if the store is not shared. Throws `usage` for options about
 * other servers that would have no effect.
 */
export async function composeForwarder(
  store: RegistrationStore<SerializedReplica>,
  { tls, peerToken, peerTokens, peerTls }: PeerOptions,
): Promise<LeaseForwarder | undefined> {
  if (!store.findForeignLease) {
    if (!peerToken && !peerTokens && !peerTls) return undefined;
    const advice = 'give an address such as etcd://HOST:PORT, or leave them out';
    throw new AnyserveError(
      'usage',
      `a token or certificates are given for other API servers, but the store is not shared with any; ${advice}`,
    );
  }
  const [{ LeaseForwarder }, { HttpConnections }] = await Promise.all([
    import('./server/lease-forwarder.js'),
    import('./http/http-client.js'),
  ]);
  const [getServerTls, getPeerTls] = [toGetter(tls), toGetter(peerTls)];
  const connections = new HttpConnections(() => ({ ...getServerTls?.(), ...getPeerTls?.() }));
  return new LeaseForwarder({
    connections,
    clock: system.clock,
    token: toGetter(peerToken),
    requiresTls: tls !== undefined,
  });
}
