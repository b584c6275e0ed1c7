import type { ClientTls } from '../core/tls.js';
import { InferenceChannel, type InferenceChannelOptions } from './inference-channel.js';

/** What all channels of a pool have in common. */
export interface ChannelPoolOptions extends Omit<InferenceChannelOptions, 'tls'> {
  /** Whom to trust and what to show, as it is now; plain text is spoken unless told. */
  readonly tls?: (() => ClientTls) | undefined;
}

interface Pooled {
  readonly channel: InferenceChannel;
  readonly tls: ClientTls | undefined;
}

/** The open channels, one for each endpoint; a client talks to few, so none is closed before the pool is. */
export class ChannelPool {
  readonly #options: ChannelPoolOptions;
  readonly #pooled = new Map<string, Pooled>();

  constructor(options: ChannelPoolOptions) {
    this.#options = options;
  }

  /**
   * The channel to an endpoint, opened if need be; another when what TLS is to go by has changed. Throws `usage` when it
   * cannot be dialled.
   */
  get(endpoint: string): InferenceChannel {
    const tls = this.#options.tls?.();
    const open = this.#pooled.get(endpoint);
    if (open && isSame(open.tls, tls)) return open.channel;
    open?.channel.closeWhenUnused();
    const channel = new InferenceChannel(endpoint, { ...this.#options, tls });
    this.#pooled.set(endpoint, { channel, tls });
    return channel;
  }

  /** Leaves a channel that failed, so that the next call to its endpoint begins afresh. */
  drop(channel: InferenceChannel): void {
    if (this.#pooled.get(channel.endpoint)?.channel !== channel) return;
    channel.closeWhenUnused();
    this.#pooled.delete(channel.endpoint);
  }

  /** Closes all; whoever still uses one has been told to stop. */
  close(): void {
    for (const { channel } of this.#pooled.values()) channel.close();
    this.#pooled.clear();
  }
}

/** Whether TLS goes by the same: whoever is asked for it may make a new object each time. */
function isSame(one: ClientTls | undefined, other: ClientTls | undefined): boolean {
  if (one === other) return true;
  return one?.ca === other?.ca && one?.cert === other?.cert && one?.key === other?.key && !one === !other;
}
