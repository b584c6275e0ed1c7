import { AnyserveError, type ErrorCode } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { HTTP_PROBE_TIMEOUT_MS } from '../probe.js';
import type { Engine } from './engine.js';

/** Timeout of {@link checkEngine} for a health watch, in ms. Slightly longer than its own, so that it can report the reason. */
export const ENGINE_CHECK_TIMEOUT_MS = HTTP_PROBE_TIMEOUT_MS + 1000;

/** Options of {@link checkEngine}. */
export interface EngineCheckOptions {
  readonly clock: Clock;
  /** Fetches the list of models. */
  readonly refreshModels: (signal: AbortSignal) => Promise<void>;
  /** Returns whether there is a sign since this time that the engine works on calls. */
  readonly hasWorkedSince: (timeMs: number) => boolean;
}

/**
 * Checks the health of an engine with its probe and with the list of models. Rejects with the reason if it isn't healthy. An
 * engine whose check times out counts as busy, not unhealthy, if it worked on calls in the meantime.
 */
export async function checkEngine(
  engine: Engine,
  { clock, refreshModels, hasWorkedSince }: EngineCheckOptions,
  checkSignal: AbortSignal,
): Promise<void> {
  if (!engine.isProbed) return;
  const startedAtMs = clock.nowMs();
  const timeLimit = new AbortController();
  const timeoutError = new AnyserveError(
    'deadline_exceeded',
    `${engine.url}: no response within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`,
  );
  const cancel = clock.schedule(HTTP_PROBE_TIMEOUT_MS, () => timeLimit.abort(timeoutError));
  const signal = AbortSignal.any([checkSignal, timeLimit.signal]);
  try {
    await engine.probe(signal);
    // A server with its own probe path can have a slow list of models, or none.
    await refreshModels(signal).catch((error) => {
      if (!engine.hasProbePath) throw error;
    });
  } catch (error) {
    const isSlow = error instanceof AnyserveError && error.code === 'deadline_exceeded';
    if (!isSlow || !hasWorkedSince(startedAtMs)) throw error;
  } finally {
    cancel();
  }
}

/** Errors of an engine that is still loading. They disappear without intervention. */
const TEMPORARY_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'deadline_exceeded',
  'internal',
  'resource_exhausted',
]);

/** Returns the error that ends the wait for an engine which has not been ready yet. Returns undefined for a temporary one. */
export function toPermanentError(error: unknown): unknown {
  if (!(error instanceof AnyserveError) || error.code === 'usage') return error;
  if (TEMPORARY_ERRORS.has(error.code)) return undefined;
  return new AnyserveError('failed', error.message, { cause: error });
}
