import { AnyserveError, messageOf } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { quoted } from '../core/quoted.js';
import type { CallCancellation, Cancellation } from './cancellation.js';
import type { ChannelPool } from './channel-pool.js';
import type { Target } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import type { ListingWatch, WatchedCall } from './listing-watch.js';

/** Timeout for a replica's answer on a new connection, in ms. A replica that takes longer counts as dead. */
const SILENT_AFTER_MS = 2000;

/** The parts of a client that its attempts use. */
export interface AttemptContext {
  readonly channels: ChannelPool;
  /** Watches calls in progress; undefined where there is no list of replicas to ask for. */
  readonly listing?: ListingWatch | undefined;
  readonly clock: Clock;
}

/** One attempt of a call at one target, with its own channel and cancellation, so that attempts can run side by side. */
export class Attempt implements WatchedCall {
  readonly target: Target;
  readonly channel: InferenceChannel;
  readonly options: CallOptions;
  heardAtMs: number;
  readonly #caller: AttemptContext;
  readonly #call: CallCancellation;
  readonly #cancellation: Cancellation;

  /** Begins the attempt. Throws `failed_precondition` for a target that can't be dialled. */
  constructor(caller: AttemptContext, target: Target, call: CallCancellation, time: Omit<CallOptions, 'cancellation'>) {
    this.#caller = caller;
    this.#call = call;
    this.target = target;
    this.channel = openChannel(caller, target);
    this.#cancellation = call.beginAttempt();
    this.options = { ...time, cancellation: this.#cancellation };
    this.heardAtMs = caller.clock.nowMs();
    caller.listing?.add(this);
  }

  /** Reports whether the replica doesn't answer on a new connection either. */
  isSilent(): Promise<boolean> {
    return this.channel.isSilent(SILENT_AFTER_MS);
  }

  /** Ends this attempt with an error. Other attempts of the call go on, and another can follow. */
  fail(error: AnyserveError): void {
    this.#cancellation.cancel(error);
  }

  /** Releases the channel. A channel that became unavailable is not used again. */
  end(error?: unknown): void {
    const { channels, listing } = this.#caller;
    const isBroken = error instanceof AnyserveError && error.code === 'unavailable' && !this.#call.isCancelled;
    if (isBroken) channels.drop(this.channel);
    listing?.delete(this);
    this.#call.endAttempt(this.#cancellation);
    this.channel.release();
  }
}

function openChannel({ channels }: AttemptContext, target: Target): InferenceChannel {
  try {
    const channel = channels.get(target.endpoint);
    channel.acquire();
    return channel;
  } catch (cause) {
    const message = `replica ${quoted(target.replicaId ?? target.endpoint)}: ${messageOf(cause)}`;
    // The next attempt at this replica would fail in the same way, so only another replica is tried.
    throw new AnyserveError('failed_precondition', message, { cause });
  }
}
