import { type ChannelInterface, connectivityState } from '@grpc/grpc-js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import { connectTcp } from './tcp-connect.js';

/** How long a connection may take to come about; what does not answer by then is as good as dead. */
const CONNECT_TIMEOUT_MS = 3000;

/**
 * Waits until a connection is there or has failed, which the call itself then reports. An address may swallow every
 * packet, and a process may stand still, so the wait is shorter than a call: then it rejects with `unavailable`.
 */
export async function connectChannel(
  channel: ChannelInterface,
  endpoint: Endpoint,
  deadlineEpochMs: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  const connectBy = clock.epochMs() + CONNECT_TIMEOUT_MS;
  const limit = Math.min(connectBy, deadlineEpochMs);
  try {
    await connectTcp(endpoint, limit - clock.epochMs(), signal);
    for (;;) {
      signal?.throwIfAborted();
      const state = channel.getConnectivityState(true);
      if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
      const error = await changed(channel, state, limit, signal);
      if (error) throw new AnyserveError('deadline_exceeded', `${endpoint}: no gRPC server answers there`);
    }
  } catch (error) {
    // Our own limit has passed and not the caller's: another replica may still do it in time.
    const isOurs = error instanceof AnyserveError && error.code === 'deadline_exceeded' && connectBy < deadlineEpochMs;
    throw isOurs ? new AnyserveError('unavailable', error.message, { cause: error }) : error;
  }
}

/** Waits until the state is another; resolves with an error when it is not by then. */
function changed(
  channel: ChannelInterface,
  state: connectivityState,
  byEpochMs: number,
  signal: AbortSignal | undefined,
): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const onAbort = (): void => resolve(undefined);
    signal?.addEventListener('abort', onAbort, { once: true });
    channel.watchConnectivityState(state, byEpochMs, (error) => {
      signal?.removeEventListener('abort', onAbort);
      resolve(error);
    });
  });
}
