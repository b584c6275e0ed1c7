import type { RouteResponse } from '../api/api-responses.js';
import type { ApiClient } from '../client/api-client.js';
import { sleep } from '../client/async-waits.js';
import type { RouteSelection } from '../client/route-selection.js';
import { type CapabilityQuery, formatQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import * as system from '../system.js';
import { parseDurationMs } from './argument-parsers.js';
import type { Arguments, CommandIo } from './command.js';
import { explainNoMatch } from './no-match.js';
import { startSpinner } from './spinner.js';

/** Minimum time between two requests for a replica, in ms. */
const MIN_INTERVAL_MS = 500;

/** Maximum random addition to the interval, as a share of it. Otherwise clients that were started together would ask together. */
const JITTER = 0.5;

/** Clock, source of randomness, and the signal that ends a wait. */
export interface WaitEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Spaces out the requests of a command that waits until a replica matches. */
export class MatchWait {
  readonly #environment: WaitEnvironment;
  readonly #giveUpAtMs: number;

  constructor(waitMs: number, environment: WaitEnvironment) {
    this.#environment = environment;
    this.#giveUpAtMs = environment.clock.nowMs() + waitMs;
  }

  /**
   * Waits before the next requests, of which there are at most two per second. The last ones are made when the time is over.
   * Resolves to false if they were made already. Rejects when the signal is aborted.
   */
  async waitForNext(requestCount = 1): Promise<boolean> {
    const { clock, random, signal } = this.#environment;
    signal.throwIfAborted();
    const remainingMs = this.#giveUpAtMs - clock.nowMs();
    const minDelayMs = requestCount * MIN_INTERVAL_MS;
    if (remainingMs < minDelayMs) return false;
    const delayMs = minDelayMs * (1 + JITTER * random.fraction());
    const isLast = remainingMs - delayMs < minDelayMs;
    await sleep(clock, isLast ? remainingMs : delayMs, signal);
    signal.throwIfAborted();
    return true;
  }
}

/** Reads the time to wait for a match, in ms. Undefined if none is given. Throws `usage`. */
export function readWaitMs(args: Arguments): number | undefined {
  const text = args.getText('wait');
  return text === undefined ? undefined : parseDurationMs('wait', text);
}

/** Returns whether a later request can find a replica: none matches yet, or no API server can be reached yet. */
export function canFindLater(error: unknown): error is AnyserveError {
  return error instanceof AnyserveError && (error.code === 'no_match' || error.code === 'server_unreachable');
}

/** Options of {@link waitForRoute}. */
export interface RouteWaitOptions {
  readonly waitMs: number;
  readonly json: boolean;
  readonly selection: RouteSelection;
  readonly io: CommandIo;
}

/** Asks for a replica until one matches or the time is over. At a terminal, shows a spinner meanwhile. */
export async function waitForRoute(
  api: ApiClient,
  query: CapabilityQuery,
  { waitMs, json, selection, io }: RouteWaitOptions,
): Promise<RouteResponse> {
  const signal = io.interrupted;
  const wait = new MatchWait(waitMs, { ...system, signal });
  const spinner = json ? undefined : startSpinner(`waiting for a replica that offers ${formatQuery(query)}`, io);
  try {
    for (;;) {
      let failure: AnyserveError | undefined;
      try {
        const result = await api.route(query, [], { signal, selection });
        if (result.kind === 'found') return result.route;
      } catch (error) {
        if (!canFindLater(error)) throw error;
        failure = error;
      }
      if (!(await wait.waitForNext())) throw failure ?? (await explainNoMatch([query], api, signal, selection));
    }
  } finally {
    spinner?.stop();
  }
}
