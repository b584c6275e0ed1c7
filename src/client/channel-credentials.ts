import { isIP } from 'node:net';
import { checkServerIdentity, createSecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, createTlsVerification, MIN_TLS_VERSION } from '../core/tls.js';

/**
 * TLS server name (SNI) for an endpoint that is an IP address. SNI can't carry an address, but the library would send it.
 * No server has a certificate for this name, so a server uses its default certificate.
 */
const PLACEHOLDER_SERVER_NAME = 'address.invalid';

/** Creates the credentials and options of a channel: plain text without `tls`, else TLS. */
export function createChannelSecurity(
  endpoint: Endpoint,
  tls: ClientTls | undefined,
): { readonly credentials: ChannelCredentials; readonly options: ChannelOptions } {
  if (!tls) return { credentials: credentials.createInsecure(), options: {} };
  const context = createSecureContext({ ...tls, minVersion: MIN_TLS_VERSION });
  // The gRPC library verifies certificates even with NODE_TLS_REJECT_UNAUTHORIZED=0. Node must do the same.
  const verification = { ...createTlsVerification(tls), rejectUnauthorized: true };
  const address = toSocketAddress(endpoint);
  if ('path' in address || isIP(address.host) === 0) {
    // The library connects to an address, and verifies the certificate for the name.
    const options = 'path' in address ? {} : { 'grpc.ssl_target_name_override': address.host };
    return { credentials: credentials.createFromSecureContext(context, verification), options };
  }
  const checkAddress: typeof checkServerIdentity = (_name, certificate) =>
    checkServerIdentity(address.host, certificate);
  return {
    credentials: credentials.createFromSecureContext(context, { ...verification, checkServerIdentity: checkAddress }),
    options: { 'grpc.ssl_target_name_override': PLACEHOLDER_SERVER_NAME },
  };
}
