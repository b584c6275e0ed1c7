import { AnyserveError } from '../core/errors.js';
import type { ClientTls } from '../core/tls.js';

/** Options of Node's TLS that enforce the verification of server certificates. */
export interface TlsVerification {
  readonly rejectUnauthorized?: true;
}

/**
 * Creates options that verify a server against the given authorities even if NODE_TLS_REJECT_UNAUTHORIZED is 0, with
 * which Node accepts any certificate by default. Without authorities, that variable applies as in any Node program.
 * Throws `usage` for an empty `ca`, which Node would treat as absent.
 */
export function createTlsVerification({ ca }: ClientTls): TlsVerification {
  if (ca === '') throw new AnyserveError('usage', 'tls.ca is empty; set it to PEM certificates, or leave it out');
  return ca === undefined ? {} : { rejectUnauthorized: true };
}
