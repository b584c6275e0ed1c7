import { getErrorMessage } from '../core/errors.js';

/**
 * What is wrong with a TLS connection, by what the TLS library says of it; the gRPC library keeps nothing but its text.
 */
const REASONS: readonly (readonly [said: RegExp, reason: string])[] = [
  [/certificate has expired/i, 'its certificate has expired; it needs a new one'],
  [/certificate is not yet valid/i, 'its certificate is not valid yet; is the clock right, here and there?'],
  [
    /self[- ]signed certificate|unable to (verify the first certificate|get (local )?issuer certificate)/i,
    'its certificate is signed by no authority that is trusted here; name that with --tls-ca FILE',
  ],
  [
    /alert certificate required|alert handshake failure/i,
    'it asks for a certificate; give one with --tls-cert FILE and --tls-key FILE',
  ],
  [
    /alert (unknown ca|bad certificate|certificate (expired|unknown|revoked)|unsupported certificate|decrypt error)/i,
    'it does not take the certificate of --tls-cert',
  ],
  [/wrong version number|packet length too long/i, 'it speaks no TLS'],
  [/unsupported protocol|alert protocol version/i, 'it speaks TLS of before 1.2 only'],
];

/** What is wrong with a TLS connection, and what to do; undefined when that is no matter of TLS. */
export function explainTlsError(error: unknown): string | undefined {
  const text = getErrorMessage(error);
  const names = /does not match certificate's altnames: (.+? is not in the cert's[^:]*|.*)/i.exec(text)?.[1];
  if (names !== undefined) return `its certificate is for another name (${names})`;
  return REASONS.find(([said]) => said.test(text))?.[1];
}
