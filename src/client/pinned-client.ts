import { type ChannelInterface, type ChannelOptions, connectivityState, Client as GrpcClient } from '@grpc/grpc-js';
import { formatAuthority, toSocketAddress } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { ClientTls } from '../core/tls.js';
import { createGrpcOptions } from '../inference/service-definition.js';
import { createChannelSecurity } from './channel-credentials.js';

/**
 * The gRPC library's client for an endpoint, pinned to the address that accepted a connection. The library never gets the host name:
 * it would resolve it once more, to an address that can differ from the one that was checked (DNS rebinding). It would also read a
 * service configuration from the DNS records of the name.
 */
export class PinnedClient {
  readonly #endpoint: Endpoint;
  readonly #security: ReturnType<typeof createChannelSecurity>;
  readonly #maxMessageBytes: number;
  #client: GrpcClient | undefined;
  #target: string | undefined;
  #isClosed = false;

  constructor(endpoint: Endpoint, tls: ClientTls | undefined, maxMessageBytes: number) {
    this.#endpoint = endpoint;
    this.#security = createChannelSecurity(endpoint, tls);
    this.#maxMessageBytes = maxMessageBytes;
  }

  get isReady(): boolean {
    return !this.#isClosed && this.#client?.getChannel().getConnectivityState(false) === connectivityState.READY;
  }

  /** The library's channel. Throws `unavailable` before {@link connectTo}. */
  get channel(): ChannelInterface {
    if (this.#client) return this.#client.getChannel();
    throw new AnyserveError('unavailable', `${this.#endpoint}: the channel is not connected`);
  }

  /**
   * Returns a channel to this address. Keeps the one to another address while that connects or is connected. Throws `unavailable`
   * if the client is closed. Default address: that of a Unix domain socket.
   */
  connectTo(address: string | undefined): ChannelInterface {
    // Requesting the state of a closed library channel would reconnect it, and nothing would close it again.
    if (this.#isClosed) throw new AnyserveError('unavailable', `${this.#endpoint}: the channel is closed`);
    const target = this.#toTarget(address);
    if (!this.#client || (target !== this.#target && !isInUse(this.#client))) {
      this.#client?.close();
      this.#client = new GrpcClient(target, this.#security.credentials, this.#createOptions());
      this.#target = target;
    }
    return this.#client.getChannel();
  }

  /** Closes the channel. The connection ends with the last call in progress. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#client?.close();
  }

  #toTarget(host: string | undefined): string {
    const address = toSocketAddress(this.#endpoint);
    if ('path' in address || host === undefined) return this.#endpoint;
    return `dns:///${formatAuthority(host, address.port)}`;
  }

  #createOptions(): ChannelOptions {
    const address = toSocketAddress(this.#endpoint);
    return {
      ...this.#security.options,
      ...createGrpcOptions(this.#maxMessageBytes),
      ...('port' in address && { 'grpc.default_authority': formatAuthority(address.host, address.port) }),
      // Calls go directly to the replica, even if the environment sets a proxy for other traffic.
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      // The connection isn't shared with other channels, so that closing the channel closes it.
      'grpc.use_local_subchannel_pool': 1,
    };
  }
}

function isInUse(client: GrpcClient): boolean {
  const state = client.getChannel().getConnectivityState(false);
  return state === connectivityState.READY || state === connectivityState.CONNECTING;
}
