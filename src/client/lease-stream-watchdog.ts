import type { Clock } from '../core/ports.js';
import type { ApiClient } from './api-client.js';

/** Three heartbeats of the original; when a stream is silent for longer, its server is asked whether it is there. */
const SILENCE_LIMIT_MS = 15_000;

/** And again after so long, until it answers. */
const ASK_AGAIN_MS = 1000;

/** What a watch over a lease's stream needs. */
export interface LeaseStreamWatchOptions {
  readonly api: ApiClient;
  readonly clock: Clock;
  /** Aborted when the stream has ended. */
  readonly signal: AbortSignal;
  /** Told, with the reason, that the stream is lost. */
  readonly onLost: (reason: string) => void;
}

/**
 * Asks the server of a stream that says nothing whether it is there; the returned function is told when it says something.
 * One that answers, and then still says nothing on the stream, has lost it. One that does not answer may stand still,
 * and what it has of us then is the stream; closed, it would take the replica out of the list as soon as it goes on.
 */
export function watchLeaseStream(server: string, { api, clock, signal, onLost }: LeaseStreamWatchOptions): () => void {
  let cancel = (): void => {};
  let timesHeard = 0;
  const wait = (delayMs: number, task: () => void): void => {
    cancel();
    if (!signal.aborted) cancel = clock.schedule(delayMs, task);
  };
  const giveUp = (): void => onLost(`nothing heard for ${SILENCE_LIMIT_MS / 1000} s`);
  const ask = async (): Promise<void> => {
    if (api.serverCount > 1) return giveUp();
    const timesHeardBefore = timesHeard;
    const isAlive = await api.isAlive(server, signal);
    if (signal.aborted || timesHeard > timesHeardBefore) return;
    // One that goes on after a pause has much to answer, and the stream need not be the first.
    wait(ASK_AGAIN_MS, isAlive ? giveUp : () => void ask());
  };
  const watch = (): void => wait(SILENCE_LIMIT_MS, () => void ask());
  signal.addEventListener('abort', () => cancel(), { once: true });
  watch();
  return () => {
    timesHeard++;
    watch();
  };
}
