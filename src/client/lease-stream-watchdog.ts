import type { Clock } from '../core/ports.js';
import type { ApiClient } from './api-client.js';
import type { ServerAddress } from './server-list.js';

/** Time without an event after which the server of a stream is checked, in ms: three heartbeats of the Python server. */
const STREAM_SILENCE_TIMEOUT_MS = 15_000;

/** Delay between two checks of a server that doesn't respond, and before a stream is given up. */
const SERVER_CHECK_INTERVAL_MS = 1000;

/** Options of {@link watchLeaseStream}. */
export interface LeaseStreamWatchOptions {
  readonly api: ApiClient;
  readonly clock: Clock;
  /** Aborted when the stream has ended. */
  readonly signal: AbortSignal;
  /** Called with the reason when the stream is lost. */
  readonly onLost: (reason: string) => void;
}

/**
 * Checks the server of a lease stream that has gone silent. Returns a function to call for each sign of life. A server that
 * responds but sends nothing on the stream has lost the stream. A server that doesn't respond can be paused; its stream
 * stays open, because closing it would remove the replica as soon as the server resumes.
 */
export function watchLeaseStream(
  server: ServerAddress,
  { api, clock, signal, onLost }: LeaseStreamWatchOptions,
): () => void {
  let cancelTimer = (): void => {};
  let signsOfLife = 0;
  const schedule = (delayMs: number, task: () => void): void => {
    cancelTimer();
    if (!signal.aborted) cancelTimer = clock.schedule(delayMs, task);
  };
  const giveUp = (): void => onLost(`no event for ${STREAM_SILENCE_TIMEOUT_MS / 1000} s`);
  const checkServer = async (): Promise<void> => {
    const signsOfLifeBefore = signsOfLife;
    const isAlive = await api.isAlive(server, signal);
    if (signal.aborted || signsOfLife > signsOfLifeBefore) return;
    // A server that resumes after a pause has a backlog, so the stream gets some time before it is given up.
    schedule(SERVER_CHECK_INTERVAL_MS, isAlive ? giveUp : () => void checkServer());
  };
  const restart = (): void => schedule(STREAM_SILENCE_TIMEOUT_MS, () => void checkServer());
  signal.addEventListener('abort', () => cancelTimer(), { once: true });
  restart();
  return () => {
    signsOfLife++;
    restart();
  };
}
