import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
import { type ClientTls, createTlsVerification, MIN_TLS_VERSION } from '../../core/tls.js';
import { type AddressCheck, createLookup } from './upstream-address.js';

/** Settings of connections. */
export interface ConnectorSettings {
  /** Returns the TLS settings for new connections. */
  readonly tls: () => ClientTls;
  readonly checkAddress: AddressCheck;
}

/** A socket that is connecting. */
export interface ConnectingSocket {
  readonly socket: Socket;
  /** The event after which a request can be sent. */
  readonly readyEvent: 'connect' | 'secureConnect';
  /** TLS settings of the connection. Undefined without TLS. */
  readonly tls: ClientTls | undefined;
}

/** Opens connections to one origin, with or without TLS. */
export class OriginConnector {
  readonly #settings: ConnectorSettings;
  readonly #hostname: string;
  readonly #port: number;
  readonly #isSecure: boolean;
  readonly #isAllowed: (address: string) => boolean;
  readonly #lookup: LookupFunction;
  #secure: { readonly tls: ClientTls; readonly context: SecureContext } | undefined;

  constructor(url: URL, settings: ConnectorSettings) {
    this.#settings = settings;
    this.#hostname = url.hostname.replace(/^\[|\]$/g, '');
    this.#isSecure = url.protocol === 'https:';
    this.#port = Number(url.port) || (this.#isSecure ? 443 : 80);
    this.#isAllowed = (address) => settings.checkAddress(address, url.origin);
    this.#lookup = createLookup(this.#isAllowed);
  }

  /** TLS settings of a connection that is opened now. Undefined without TLS. */
  get tls(): ClientTls | undefined {
    return this.#isSecure ? this.#settings.tls() : undefined;
  }

  /** Opens a connection. Throws if the address is not allowed, or if a certificate can't be parsed. */
  open(): ConnectingSocket {
    const { tls } = this;
    const [host, port, lookup] = [this.#hostname, this.#port, this.#lookup];
    // Node.js calls no lookup for an address.
    if (isIP(host) !== 0 && !this.#isAllowed(host)) throw new Error(`connections to ${host} are not allowed`);
    if (!tls) return { socket: connect({ host, port, lookup }), readyEvent: 'connect', tls };
    const socket = connectTls({
      host,
      port,
      lookup,
      ...(isIP(host) === 0 && { servername: host }),
      ALPNProtocols: ['http/1.1'],
      secureContext: this.#getSecureContext(tls),
      ...createTlsVerification(tls),
    });
    return { socket, readyEvent: 'secureConnect', tls };
  }

  /** Returns the context of TLS settings. Parsing the certificates takes milliseconds. */
  #getSecureContext(tls: ClientTls): SecureContext {
    if (this.#secure?.tls !== tls)
      this.#secure = { tls, context: createSecureContext({ ...tls, minVersion: MIN_TLS_VERSION }) };
    return this.#secure.context;
  }
}
