/** TLS settings of a server, as PEM texts. */
export interface ServerTls {
  /** The certificate of the server, followed by its intermediate certificates. */
  readonly cert: string;
  readonly key: string;
  /** Authorities for client certificates (mutual TLS). Default: no client certificate is required. */
  readonly ca?: string | undefined;
}

/** TLS settings of a client, as PEM texts. */
export interface ClientTls {
  /** The only authorities to trust. Default: the ones that Node.js trusts. */
  readonly ca?: string | undefined;
  /** Client certificate for servers that require one. Requires `key`. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Minimum TLS version. */
export const MIN_TLS_VERSION = 'TLSv1.2';
