import { hostname } from 'node:os';
import { asInstanceId, asLeaseId, asRegistryId, asServerId } from './core/ids.js';
import type { Clock, Ids, Random } from './core/ports.js';

/**
 * The system clock. A scheduled task keeps the process alive until it has run or is cancelled, unless it is a background task. A
 * task without a delay uses `setImmediate`: it runs after pending I/O callbacks, and a timer would add a millisecond.
 */
export const clock = {
  nowMs: () => performance.now(),
  epochMs: () => Date.now(),
  schedule(delayMs: number, task: () => void, { background = false } = {}) {
    if (delayMs <= 0) {
      const immediate = setImmediate(task);
      if (background) immediate.unref();
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(task, delayMs);
    if (background) timer.unref();
    return () => clearTimeout(timer);
  },
} satisfies Clock;

/** The random numbers of Node.js. */
export const random: Random = { fraction: () => Math.random() };

/**
 * Ids from the operating system's source of randomness. Lease ids are copied, because V8 keeps the UUID that Node.js builds as a
 * tree of its twenty parts, which takes ten times the memory of the flat text.
 */
export const ids: Ids = {
  createLeaseId: () => asLeaseId(Buffer.from(crypto.randomUUID(), 'latin1').toString('latin1')),
  createServerId: () => asServerId(crypto.randomUUID()),
  createRegistryId: () => asRegistryId(crypto.randomUUID()),
  createInstanceId: () => asInstanceId(crypto.randomUUID()),
};

/** Returns the environment variables of the process. */
export function getEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}

/** Returns a moment as local time with its zone: `2026-11-28T14:03:07+01:00`. For the start of a log line. */
export function formatLogTime(epochMs: number): string {
  const offsetMinutes = -new Date(epochMs).getTimezoneOffset();
  const local = new Date(epochMs + offsetMinutes * 60_000).toISOString().slice(0, 19);
  const [hours, minutes] = [Math.floor(Math.abs(offsetMinutes) / 60), Math.abs(offsetMinutes) % 60];
  const zone = [hours, minutes].map((number) => String(number).padStart(2, '0')).join(':');
  return `${local}${offsetMinutes < 0 ? '-' : '+'}${zone}`;
}

/** Returns a moment as UTC: `2026-11-28T13:03:07.250Z`. */
export function formatUtcTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** Returns the local time of day as `14:03:07`. */
export function formatTimeOfDay(): string {
  return new Date().toTimeString().slice(0, 8);
}

/**
 * Returns the local time of a moment, in ms since 1970: `14:03:07`, or `2026-11-28 14:03:07` if it is not today.
 */
export function formatLocalTime(epochMs: number): string {
  const date = new Date(epochMs);
  const time = date.toTimeString().slice(0, 8);
  if (date.toDateString() === new Date().toDateString()) return time;
  const [month, day] = [date.getMonth() + 1, date.getDate()].map((number) => String(number).padStart(2, '0'));
  return `${date.getFullYear()}-${month}-${day} ${time}`;
}

/** Random id of this process: six hexadecimal digits. */
export const instance = crypto.randomUUID().slice(0, 6);

/** Returns the host name of this machine. */
export function getHostName(): string {
  return hostname();
}
