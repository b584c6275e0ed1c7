import { AnyserveError, getErrorMessage } from './errors.js';

/** TLS settings of a server, as PEM strings. */
export interface ServerTls {
  /** The certificate of the server, followed by its intermediate certificates. */
  readonly cert: string;
  readonly key: string;
  /** Authorities for client certificates (mutual TLS). Default: no client certificate is required. */
  readonly ca?: string | undefined;
}

/** TLS settings of a client, as PEM strings. */
export interface ClientTls {
  /** The only authorities to trust. Default: the ones that Node.js trusts. */
  readonly ca?: string | undefined;
  /** Client certificate for servers that require one. Requires `key`. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Minimum TLS version. */
export const MIN_TLS_VERSION = 'TLSv1.2';

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
