import { sleep } from '../client/async-waits.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';

/**
 * Time after which the load of an engine includes the calls of callers that found it before it was unregistered, in ms. The load is
 * read every 2 s.
 */
const LATE_CALLS_MS = 3000;

/** Interval of the checks whether an engine has no calls any more, in ms. */
const CHECK_INTERVAL_MS = 250;

/**
 * Waits until an engine that has been unregistered has no calls any more, for at most `maxMs`. Engines such as vLLM abort their calls
 * at SIGTERM. Does not wait for an engine that reports no load.
 */
export async function waitUntilIdle(
  getLoad: () => ReplicaLoad | undefined,
  maxMs: number,
  clock: Clock,
): Promise<void> {
  if (getLoad() === undefined) return;
  const isBusy = (): boolean => {
    const { running, waiting } = getLoad() ?? { running: 0, waiting: 0 };
    return running + waiting > 0;
  };
  const deadlineAtMs = clock.nowMs() + maxMs;
  // The engine can end meanwhile, and then nothing waits for these timers.
  const pause = (ms: number): Promise<void> => sleep(clock, ms, undefined, { background: true });
  await pause(Math.min(LATE_CALLS_MS, maxMs));
  while (isBusy() && clock.nowMs() < deadlineAtMs) await pause(CHECK_INTERVAL_MS);
}
