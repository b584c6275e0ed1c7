import { getErrorMessage } from '../core/errors.js';

/** Explanations of TLS errors, by the text of the TLS library. The gRPC library keeps only the text of an error. */
const TLS_ERROR_REASONS: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/certificate has expired/i, 'its certificate has expired; it needs a new one'],
  [/certificate is not yet valid/i, 'its certificate is not valid yet; are the clocks of both hosts correct?'],
  [
    /self[- ]signed certificate|unable to (verify the first certificate|get (local )?issuer certificate)/i,
    'its certificate is not signed by a trusted authority; give the authority with --tls-ca FILE',
  ],
  [
    /alert certificate required|alert handshake failure/i,
    'it requires a client certificate; give one with --tls-cert FILE and --tls-key FILE',
  ],
  [
    /alert (unknown ca|bad certificate|certificate (expired|unknown|revoked)|unsupported certificate|decrypt error)/i,
    'it does not accept the certificate of --tls-cert',
  ],
  [/wrong version number|packet length too long/i, 'it does not use TLS'],
  [/unsupported protocol|alert protocol version/i, 'it supports only TLS versions before 1.2'],
];

/** Explains a TLS error and what to do about it. Returns undefined for other errors. */
export function explainTlsError(error: unknown): string | undefined {
  const text = getErrorMessage(error);
  const names = /does not match certificate's altnames: (.+? is not in the cert's[^:]*|.*)/i.exec(text)?.[1];
  if (names !== undefined) return `its certificate is for another name (${names})`;
  return TLS_ERROR_REASONS.find(([pattern]) => pattern.test(text))?.[1];
}
