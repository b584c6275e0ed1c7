import { type ChannelInterface, connectivityState } from '@grpc/grpc-js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import { ConnectTimeoutError } from './connection-errors.js';
import { connectTcp } from './tcp-connect.js';

/** Timeout for a connection, in ms. A replica that takes longer counts as dead. */
const CONNECT_TIMEOUT_MS = 3000;

/**
 * Waits until a channel is connected or has failed; a call on the failed channel then reports the reason. A host can drop
 * all packets and a process can be frozen, so the timeout is shorter than a call's. After it, rejects with `unavailable`.
 */
export async function connectChannel(
  channel: ChannelInterface,
  endpoint: Endpoint,
  deadlineEpochMs: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  const connectDeadlineEpochMs = clock.epochMs() + CONNECT_TIMEOUT_MS;
  const earliestDeadlineEpochMs = Math.min(connectDeadlineEpochMs, deadlineEpochMs);
  try {
    await connectTcp(endpoint, earliestDeadlineEpochMs - clock.epochMs(), signal);
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
