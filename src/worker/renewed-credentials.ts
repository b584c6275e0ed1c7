import type { SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';

/** How long a caller may take until it is known to speak TLS. */
const HANDSHAKE = { handshakeTimeout: 10_000 };

/** What a gRPC server shows to its callers; the library's own of this kind keep for ever what they began with. */
export class RenewedCredentials extends ServerCredentials {
  /** Whether callers are asked for a certificate is settled here; of which authority, each renewal says. */
  constructor(tls: ServerTls) {
    const asksForCertificate = tls.ca !== undefined;
    // The library hands on whatever Node's server takes.
    const server = { requestCert: asksForCertificate, rejectUnauthorized: asksForCertificate, ...HANDSHAKE };
    super(server, contextFrom(tls));
  }

  /** Shows something else on connections that come from now on. */
  renew(tls: ServerTls): void {
    this.updateSecureContextOptions(contextFrom(tls));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextFrom({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}
