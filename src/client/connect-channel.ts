import { type ChannelInterface, connectivityState } from '@grpc/grpc-js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { AddressCheck } from '../http/engine-client/upstream-address.js';
import { ConnectTimeoutError } from './connection-errors.js';
import type { PinnedClient } from './pinned-client.js';
import { connectTcp } from './tcp-connect.js';

/** Timeout for a connection, in ms. A replica that takes longer counts as dead. */
const CONNECT_TIMEOUT_MS = 3000;

/** Options of {@link connectChannel}. */
export interface ConnectChannelOptions {
  readonly deadlineEpochMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** Decides which addresses are connected to. Default: all. */
  readonly checkAddress: AddressCheck | undefined;
}

/**
 * Waits until a client is connected or has failed; a call on its failed channel then reports the reason. A host can drop
 * all packets and a process can be frozen, so the timeout is shorter than a call's. After it, rejects with `unavailable`.
 */
export async function connectChannel(
  client: PinnedClient,
  endpoint: Endpoint,
  { deadlineEpochMs, clock, signal, checkAddress }: ConnectChannelOptions,
): Promise<void> {
  const connectDeadlineEpochMs = clock.epochMs() + CONNECT_TIMEOUT_MS;
  const earliestDeadlineEpochMs = Math.min(connectDeadlineEpochMs, deadlineEpochMs);
  try {
    const address = await connectTcp(endpoint, earliestDeadlineEpochMs - clock.epochMs(), signal, checkAddress);
    const channel = client.connectTo(address);
    for (;;) {
      signal?.throwIfAborted();
      const state = channel.getConnectivityState(true);
      if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
      const error = await waitForStateChange(channel, state, earliestDeadlineEpochMs, signal);
      if (error) throw new AnyserveError('deadline_exceeded', `${endpoint}: no gRPC server responds there`);
    }
  } catch (error) {
    // If only our timeout has passed, there is time to try another replica.
    const isOwnTimeout =
      error instanceof AnyserveError && error.code === 'deadline_exceeded' && connectDeadlineEpochMs < deadlineEpochMs;
    throw isOwnTimeout ? new ConnectTimeoutError('unavailable', error.message, { cause: error }) : error;
  }
}

/** Waits until the state changes. Resolves with an error if it doesn't change before the deadline. */
function waitForStateChange(
  channel: ChannelInterface,
  state: connectivityState,
  deadlineEpochMs: number,
  signal: AbortSignal | undefined,
): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const onAbort = (): void => resolve(undefined);
    signal?.addEventListener('abort', onAbort, { once: true });
    channel.watchConnectivityState(state, deadlineEpochMs, (error) => {
      signal?.removeEventListener('abort', onAbort);
      resolve(error);
    });
  });
}
