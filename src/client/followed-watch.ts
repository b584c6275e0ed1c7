import type { WatchEvent } from '../api/watch-events.js';
import type { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { createBackoff } from './backoff.js';
import type { WatchStream } from './watch-stream.js';

/** Time after which a connection counts as successful, in ms. The next attempt after its loss is then as soon as the first. */
const LASTING_CONNECTION_MS = 10_000;

/** Options of {@link followWatch}. */
export interface FollowWatchOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends the watch when aborted. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: WatchEvent) => void | Promise<void>;
  /** Called when a connection is lost or can't be opened. */
  readonly onLost: (error: AnyserveError, retryInMs: number) => void;
}

/**
 * Follows one API server: connects again with full jitter whenever the connection is lost. Resolves when the signal is
 * aborted. Rejects if the server refuses the watch or has none, unless an earlier connection succeeded: then that can be
 * a server during an upgrade.
 */
export async function followWatch(
  watch: WatchStream,
  { clock, random, signal, onEvent, onLost }: FollowWatchOptions,
): Promise<void> {
  const backoff = createBackoff(random);
  let hasConnected = false;
  while (!signal.aborted) {
    const startedAtMs = clock.nowMs();
    try {
      for await (const event of watch.connect(signal)) {
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
