import { AnyserveError } from '../core/errors.js';
import type { ClientTls } from '../core/tls.js';

/** Options of Node's TLS that say whose certificates are accepted. */
export interface TlsVerification {
  readonly rejectUnauthorized?: true;
}

/**
 * Makes sure that a server is checked against the authorities that were given: without this option, Node accepts every
 * certificate when NODE_TLS_REJECT_UNAUTHORIZED is 0. Without authorities that variable counts, as in any program for
 * Node. Throws `usage` for an empty text, which Node would take as none given.
 */
export function createTlsVerification({ ca }: ClientTls): TlsVerification {
  if (ca === '') throw new AnyserveError('usage', 'tls.ca is empty; give certificates (PEM), or leave it out');
  return ca === undefined ? {} : { rejectUnauthorized: true };
}
