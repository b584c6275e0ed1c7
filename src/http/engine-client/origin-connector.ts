import { connect, isIP, type LookupFunction, type OnReadOpts, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
import { type ClientTls, createTlsVerification, MIN_TLS_VERSION } from '../../core/tls.js';
import { type AddressCheck, createLookup } from './upstream-address.js';

/** Settings of connections. */
export interface ConnectorSettings {
  /** Returns the TLS settings for new connections. */
  readonly tls: () => ClientTls;
  readonly checkAddress: AddressCheck;
}

/** Receives the bytes that arrive on a connection. They are valid until it returns. */
export type BytesListener = (bytes: Buffer) => void;

/**
 * The memory that all connections read into, one after the other. Without it, Node.js allocates 64 KiB for each read and gives most of
 * them back, and passes the rest through a stream: a tenth of the processor time of a call.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

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
  open(onBytes: BytesListener): ConnectingSocket {
    const { tls } = this;
    const onread = createReader(onBytes);
    const [host, port, lookup] = [this.#hostname, this.#port, this.#lookup];
    // Node.js calls no lookup for an address.
    if (isIP(host) !== 0 && !this.#isAllowed(host)) throw new Error(`connections to ${host} are not allowed`);
    if (!tls) return { socket: connect({ host, port, lookup, onread }), readyEvent: 'connect', tls };
    // Node.js documents `onread` for TLS too, but its types lack it.
    const options: ConnectionOptions & { readonly onread: OnReadOpts } = {
      host,
      port,
      lookup,
      onread,
      ...(isIP(host) === 0 && { servername: host }),
      ALPNProtocols: ['http/1.1'],
      secureContext: this.#getSecureContext(tls),
      ...createTlsVerification(tls),
    };
    return { socket: connectTls(options), readyEvent: 'secureConnect', tls };
  }

  /** Returns the context of TLS settings. Parsing the certificates takes milliseconds. */
  #getSecureContext(tls: ClientTls): SecureContext {
    if (this.#secure?.tls !== tls)
      this.#secure = { tls, context: createSecureContext({ ...tls, minVersion: MIN_TLS_VERSION }) };
    return this.#secure.context;
  }
}

/** Creates the option with which Node.js reads into {@link READ_BUFFER}. */
function createReader(onBytes: BytesListener): OnReadOpts {
  return {
    buffer: READ_BUFFER,
    callback(count) {
      onBytes(READ_BUFFER.subarray(0, count));
      // Anything else would pause the connection.
      return true;
    },
  };
}
