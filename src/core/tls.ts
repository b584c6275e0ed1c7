/** What a server shows, and whom it lets in, as PEM texts. */
export interface ServerTls {
  /** The certificate, and behind it those that lead from it to the authority that its callers know. */
  readonly cert: string;
  readonly key: string;
  /** The authorities one of which must have signed the certificate that a caller shows; none is asked for unless told. */
  readonly ca?: string | undefined;
}

/** Whom a caller trusts, and what it shows, as PEM texts. */
export interface ClientTls {
  /** The authorities (PEM) that are trusted, and no others. Default: the ones that Node.js trusts. */
  readonly ca?: string | undefined;
  /** The certificate shown to servers that ask for one; goes with `key`. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** The oldest TLS that is spoken. */
export const MIN_TLS_VERSION = 'TLSv1.2';
