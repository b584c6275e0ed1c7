import type { RequestHandler } from 'express';
import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { sendJson } from '../http/json-response.js';
import { DASHBOARD_PATH } from './dashboard-files.js';
import type { Readiness } from './readiness.js';

/** Path of the description of the API server, which the dashboard shows. */
export const SERVER_INFO_PATH = `${DASHBOARD_PATH}server`;

/** A description of the program that runs an API server. */
export interface ProgramInfo {
  readonly version: string;
  /** Kind of the store, such as `memory` or `etcd`. */
  readonly store: string;
}

/** Options of {@link createServerInfoHandler}. */
export interface ServerInfoOptions {
  readonly registry: Pick<Registry, 'id' | 'isInSelfPreservation'>;
  readonly readiness: Pick<Readiness, 'listReasons' | 'listDegradations'>;
  readonly clock: Clock;
  /** Monotonic time of the start, in ms. */
  readonly startedAtMs: number;
  readonly isWarming: () => boolean;
  readonly program?: ProgramInfo | undefined;
}

/** Creates the handler of `GET /ui/server`: what the server is, and what doesn't work. Times are in seconds since 1970. */
export function createServerInfoHandler(options: ServerInfoOptions): RequestHandler {
  const { registry, readiness, clock, startedAtMs, isWarming, program } = options;
  return (_request, response) => {
    const now = clock.epochMs() / 1000;
    const info = {
      now,
      started: now - Math.round(clock.nowMs() - startedAtMs) / 1000,
      version: program?.version ?? null,
      store: program?.store ?? null,
      registry: registry.id ?? null,
      warming: isWarming(),
      self_preservation: registry.isInSelfPreservation,
      problems: [...readiness.listReasons(), ...readiness.listDegradations()],
    };
    sendJson(response, 200, JSON.stringify(info));
  };
}
