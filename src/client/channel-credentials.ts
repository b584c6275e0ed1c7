import { isIP } from 'node:net';
import { checkServerIdentity, createSecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, MIN_TLS_VERSION } from '../core/tls.js';
import { createTlsVerification } from '../http/tls-verification.js';

/**
 * The name asked for at an endpoint that is an address. TLS can ask for names only, and the library would ask for the
 * address; no server has this one, so that each shows the certificate that it shows to whoever asks for none.
 */
const NO_NAME = 'address.invalid';

/** How a channel to an endpoint is made: in plain text, or over TLS. */
export function createChannelSecurity(
  endpoint: Endpoint,
  tls: ClientTls | undefined,
): { readonly credentials: ChannelCredentials; readonly options: ChannelOptions } {
  if (!tls) return { credentials: credentials.createInsecure(), options: {} };
  const context = createSecureContext({ ...tls, minVersion: MIN_TLS_VERSION });
  // The gRPC library checks certificates whatever NODE_TLS_REJECT_UNAUTHORIZED is; this says so to Node, too.
  const verification = { ...createTlsVerification(tls), rejectUnauthorized: true };
  const address = toSocketAddress(endpoint);
  if ('path' in address || isIP(address.host) === 0) {
    return { credentials: credentials.createFromSecureContext(context, verification), options: {} };
  }
  const checkAddress: typeof checkServerIdentity = (_name, certificate) =>
    checkServerIdentity(address.host, certificate);
  return {
    credentials: credentials.createFromSecureContext(context, { ...verification, checkServerIdentity: checkAddress }),
    options: { 'grpc.ssl_target_name_override': NO_NAME },
  };
}
