import type { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { createBackoff } from './backoff.js';
import type { ResumableStream } from './resumable-stream.js';

/** Time after which a connection counts as successful, in ms. The next attempt after its loss is then as soon as the first. */
const LASTING_CONNECTION_MS = 10_000;

/** Options of {@link followStream}. */
export interface FollowStreamOptions<Event> {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends the stream when aborted. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: Event) => void | Promise<void>;
  /** Called when a connection is lost or can't be opened. */
  readonly onLost: (error: AnyserveError, retryInMs: number) => void;
}

/**
 * Follows a stream of one API server: connects again with full jitter whenever the connection is lost. Resolves when the
 * signal is aborted. Rejects if the server refuses the stream or has none, unless an earlier connection succeeded: then that
 * can be a server during an upgrade.
 */
export async function followStream<Event extends { readonly kind: string }>(
  stream: Pick<ResumableStream<Event>, 'connect'>,
  { clock, random, signal, onEvent, onLost }: FollowStreamOptions<Event>,
): Promise<void> {
  const backoff = createBackoff(random);
  let hasConnected = false;
  while (!signal.aborted) {
    const startedAtMs = clock.nowMs();
    try {
      for await (const event of stream.connect(signal)) {
        hasConnected = true;
        await onEvent(event);
      }
    } catch (thrown) {
      if (signal.aborted) return;
      const error = thrown as AnyserveError;
      if (!hasConnected && error.code !== 'server_unreachable') throw error;
      if (clock.nowMs() - startedAtMs >= LASTING_CONNECTION_MS) backoff.reset();
      const retryInMs = backoff.computeNextDelayMs();
      onLost(error, retryInMs);
      await sleep(clock, retryInMs, signal);
    }
  }
}
