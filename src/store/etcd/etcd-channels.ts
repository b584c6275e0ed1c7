import { type ChannelCredentials, Client, type ClientOptions, connectivityState } from '@grpc/grpc-js';
import type { ClientTls } from '../../core/tls.js';

/** Options of the channels to the members of a cluster. */
export interface EtcdChannelsOptions {
  /** `host:port` of each member, in the order in which they are tried. */
  readonly endpoints: readonly string[];
  /** Creates the credentials of a channel. Without TLS: plain text. */
  readonly createSecurity: (
    endpoint: string,
    tls: ClientTls | undefined,
  ) => { readonly credentials: ChannelCredentials; readonly options: ClientOptions };
  /** Returns the current certificates. Undefined: no TLS. */
  readonly tls: () => ClientTls | undefined;
}

const CHANNEL_OPTIONS: ClientOptions = {
  // A watch whose connection is half open is silent forever: pings find that out. etcd closes connections with more pings.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // Other channels to the same member must not keep a connection attempt alive that this one has given up.
  'grpc.use_local_subchannel_pool': 1,
  // The cluster is trusted, and a page of 1,000 records has no fixed size.
  'grpc.max_receive_message_length': -1,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** A channel to one member, and the certificates that it was created with. */
interface MemberChannel {
  readonly client: Client;
  readonly tls: ClientTls | undefined;
}

/** The channels to the members of a cluster. Calls use one member, and the next one after a call without an answer. */
export class EtcdChannels {
  readonly #options: EtcdChannelsOptions;
  readonly #channels = new Map<number, MemberChannel>();
  #current = 0;

  constructor(options: EtcdChannelsOptions) {
    this.#options = options;
  }

  /** Number of the member that calls use at present. */
  get current(): number {
    return this.#current;
  }

  /**
   * Makes later calls use the next member, unless another call has already done that. Gives a connection attempt up, which has had
   * 2 s or more: the kernel repeats it after 1, 2, 4, 8 s, so a network that works again would be noticed 10 s later.
   */
  leave(member: number): void {
    const channel = this.#channels.get(member)?.client;
    if (channel && channel.getChannel().getConnectivityState(false) !== connectivityState.READY) {
      this.#channels.delete(member);
      channel.close();
    }
    if (member === this.#current) this.#current = (member + 1) % this.#options.endpoints.length;
  }

  /** Returns the channel to a member. Replaces one that was created with other certificates; calls on it can finish. */
  connect(member: number): Client {
    const { endpoints, createSecurity } = this.#options;
    const tls = this.#options.tls();
    const present = this.#channels.get(member);
    if (present?.tls === tls && present) return present.client;
    present?.client.close();
    const endpoint = endpoints[member] ?? '';
    const { credentials, options } = createSecurity(endpoint, tls);
    const client = new Client(endpoint, credentials, { ...CHANNEL_OPTIONS, ...options });
    this.#channels.set(member, { client, tls });
    return client;
  }

  close(): void {
    for (const { client } of this.#channels.values()) client.close();
    this.#channels.clear();
  }
}
