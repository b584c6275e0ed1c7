import type { Request, RequestHandler, Response } from 'express';
import type { Clock } from '../core/ports.js';
import type { RouteTimes } from '../telemetry/request-times.js';
import type { ServerMetrics } from '../telemetry/server-metrics.js';

export const METRICS_PATH = '/metrics';

/** Creates the handler of `GET /metrics`. */
export function createMetricsHandler(metrics: ServerMetrics): RequestHandler {
  return async (_request, response) => {
    const text = await metrics.render();
    response
      .writeHead(200, { 'content-type': metrics.contentType, 'content-length': Buffer.byteLength(text) })
      .end(text);
  };
}

/**
 * Creates a handler that counts each request of another handler and the time it takes. The end of the handler is measured, not that
 * of the response, because a listener for that would take longer than the measurement.
 */
export function measureHandler(
  handler: RequestHandler,
  times: RouteTimes,
  clock: Pick<Clock, 'nowMs'>,
): RequestHandler {
  return (request: Request, response: Response, next) => {
    const startedAtMs = clock.nowMs();
    const handled: unknown = handler(request, response, next);
    if (handled instanceof Promise) return recordLater(handled, response, { times, clock, startedAtMs });
    times.record(response.statusCode, clock.nowMs() - startedAtMs);
  };
}

/** Where the time of a request is recorded, and from when it is measured. */
interface Measurement {
  readonly times: RouteTimes;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly startedAtMs: number;
}

/** Counts a request when its handler has ended. A separate function, so that a request that is handled at once needs no closure. */
async function recordLater(
  handled: Promise<unknown>,
  response: Response,
  { times, clock, startedAtMs }: Measurement,
): Promise<void> {
  let status = 500;
  try {
    await handled;
    status = response.statusCode;
  } finally {
    times.record(status, clock.nowMs() - startedAtMs);
  }
}
