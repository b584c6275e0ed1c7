import { hostname } from 'node:os';
import { asLeaseId, asServerId } from './core/ids.js';
import type { Clock, Ids, Random } from './core/ports.js';

/**
 * Real time. A scheduled task keeps the process alive until it ran or was called off, unless it is in the background. One
 * without a delay runs once what has arrived has had its turn: with a timer it would be a millisecond later.
 */
export const clock = {
  nowMs: () => performance.now(),
  epochMs: () => Date.now(),
  schedule(delayMs: number, task: () => void, { background = false } = {}) {
    if (delayMs <= 0) {
      const turn = setImmediate(task);
      if (background) turn.unref();
      return () => clearImmediate(turn);
    }
    const timer = setTimeout(task, delayMs);
    if (background) timer.unref();
    return () => clearTimeout(timer);
  },
} satisfies Clock;

/** Real chance. */
export const random: Random = { fraction: () => Math.random() };

/**
 * Names from the operating system's source of randomness. Node hands a UUID out as a tree of its twenty parts, which takes
 * ten times the memory of its text, for as long as it is kept; a copy is the text alone.
 */
export const ids: Ids = {
  lease: () => asLeaseId(Buffer.from(crypto.randomUUID(), 'latin1').toString('latin1')),
  server: () => asServerId(crypto.randomUUID()),
};

/** The process's environment, read when asked. */
export function getEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}

/** The time of day as `14:03:07`, for the start of a log line. */
export function formatTimeOfDay(): string {
  return new Date().toTimeString().slice(0, 8);
}

/** Six letters and digits that this process alone has, as far as chance goes. */
export const instance = crypto.randomUUID().slice(0, 6);

/** The name of this machine. */
export function getHostName(): string {
  return hostname();
}
