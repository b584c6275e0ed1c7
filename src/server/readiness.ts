import type { RequestHandler } from 'express';
import { getErrorMessage, toHttpStatus } from '../core/errors.js';
import type { Events, RegistryEvent } from '../core/ports.js';
import { sendJson } from '../http/json-response.js';

/** A condition for accepting registrations. */
export interface ReadinessCheck {
  /** Unique, in lower case with underscores. */
  readonly name: string;
  /**
   * Returns why registrations can't be accepted now, in a few words. Undefined when they can. Called for each
   * registration.
   */
  getReason(): string | undefined;
}

/** Creates a check that passes once a store's first complete list of registrations has arrived. Emits an event if that fails. */
export function createFirstListCheck(arrival: Promise<void>, events: Events<RegistryEvent>): ReadinessCheck {
  let reason: string | undefined = 'the first complete list of registrations has not arrived';
  arrival.then(
    () => {
      reason = undefined;
    },
    (error) => {
      reason = `the store has no complete list of registrations: ${getErrorMessage(error)}`;
      events.emit({ kind: 'store_failed', error: getErrorMessage(error) });
    },
  );
  return { name: 'first_list', getReason: () => reason };
}

/** Readiness of the API server: it accepts registrations while it is serving and every check passes. */
export class Readiness {
  #phase: 'starting' | 'serving' | 'draining' = 'starting';
  readonly #checks: readonly ReadinessCheck[];

  readonly #listDegradations: () => readonly string[];

  /** `listDegradations` returns what doesn't work although the server is ready. */
  constructor(checks: readonly ReadinessCheck[] = [], listDegradations: () => readonly string[] = () => []) {
    this.#listDegradations = listDegradations;
    const phase = { name: 'phase', getReason: () => (this.#phase === 'serving' ? undefined : this.#phase) };
    this.#checks = [phase, ...checks];
  }

  /** Returns the reason of each check that fails. Empty when registrations are accepted. */
  listReasons(): string[] {
    return this.#checks.flatMap((check) => check.getReason() ?? []);
  }

  /**
   * Returns what doesn't work although the server accepts requests. A server that can't reach its store still responds, with
   * what it knows, so nobody should send its requests elsewhere.
   */
  listDegradations(): readonly string[] {
    return this.#listDegradations();
  }

  /** Returns the reason of one check; undefined if it passes or doesn't exist. */
  findReason(name: string): string | undefined {
    return this.#checks.find((check) => check.name === name)?.getReason();
  }

  /** Records that the server listens. */
  markServing(): void {
    this.#phase = 'serving';
  }

  /** Records that the server is about to close. */
  markDraining(): void {
    this.#phase = 'draining';
  }
}

/** Handles `GET /livez`: the process responds, so it is alive. */
export const handleLivez: RequestHandler = (_request, response) => sendJson(response, 200, '{"status":"alive"}');

/** Creates the handler of `GET /readyz`: whether registrations are accepted, and why not, or what else doesn't work. */
export function createReadyzHandler(readiness: Readiness): RequestHandler {
  return (_request, response) => {
    const reasons = readiness.listReasons();
    const degradations = readiness.listDegradations();
    if (reasons.length === 0 && degradations.length === 0) return sendJson(response, 200, '{"status":"ready"}');
    if (reasons.length === 0) {
      return sendJson(response, 200, JSON.stringify({ status: 'degraded', reasons: degradations }));
    }
    sendJson(response, toHttpStatus('unavailable'), JSON.stringify({ status: 'unready', reasons }));
  };
}
