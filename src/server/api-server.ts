import type { Request, Response } from 'express';
import { serializeErrorDetail } from '../api/api-responses.js';
import { UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { isLoopback } from '../core/host.js';
import { ignoreBody } from '../http/body-acceptance.js';
import { findCodingProblem } from '../http/head-problem.js';
import { HostCheck, type HostCheckOptions } from '../http/host-check.js';
import { sendJson } from '../http/json-response.js';
import { type Listener, type ListenerOptions, startListener } from '../http/listener.js';
import { ConnectionLimit, countOpenFiles } from '../http/open-files.js';
import { type ApiApp, type ApiAppOptions, createApiApp } from './api-app.js';
import type { ApiServer } from './api-server-handle.js';
import { DeadPeerDetector } from './dead-peer-detector.js';
import { drainLeases } from './drain.js';
import { EventStreams } from './event-stream-response.js';
import { createHttpClasses } from './express-classes.js';
import { carriesLease } from './lease-stream.js';
import { Readiness, type ReadinessCheck } from './readiness.js';
import { readRetransmitCount } from './tcp-retransmit-counters.js';
import { readTcpTable } from './tcp-table.js';
import { WatchHub } from './watch-hub.js';

/**
 * Options of an API server: those of its HTTP interface, where it listens, and its limits. The request timeout doesn't apply
 * to an open lease.
 */
export interface ApiServerOptions
  extends Omit<ApiAppOptions, 'readiness' | 'deadPeers' | 'hosts' | 'streams' | 'watches'>,
    Omit<HostCheckOptions, 'isLocal'>,
    ListenerOptions {
  /** Minimum time without an acknowledgement after which a host can count as dead, in ms. See {@link DeadPeerDetector}. */
  readonly ackTimeoutMs: number;
  /** Further conditions for accepting registrations. Default: none. */
  readonly readinessChecks?: readonly ReadinessCheck[] | undefined;
  /** Returns what doesn't work although the server is ready. Default: nothing. */
  readonly listDegradations?: (() => readonly string[]) | undefined;
}

/** Starts an API server. Resolves once it accepts requests. Throws `failed` when it can't listen on the address. */
export async function startHttpApi(options: ApiServerOptions): Promise<ApiServer> {
  const { host, parts, clock, events, tls, tokens, ackTimeoutMs } = options;
  const { registry } = parts;
  let isLocal = isLoopback(host);
  const hosts = new HostCheck({ ...options, isLocal: () => isLocal });
  const isRegistrationOpen = !tokens?.register && !tls?.().ca;
  const connections = new ConnectionLimit(await countOpenFiles());
  const openFiles = { name: 'open_files', getReason: () => connections.findProblem() };
  const readiness = new Readiness([openFiles, ...(options.readinessChecks ?? [])], options.listDegradations);
  const kernel = { readTable: readTcpTable, readRetransmitCount };
  const deadPeers = new DeadPeerDetector({ registry, clock, events, ackTimeoutMs, ...kernel });
  const streams = new EventStreams(clock);
  const watches = new WatchHub({ ...options, deadPeers, streams });
  const app = createApiApp({ ...options, isRegistrationOpen, readiness, deadPeers, hosts, streams, watches });
  const listener = await listen(app, options, connections).catch((error) => {
    deadPeers.close();
    throw error;
  });
  readiness.markServing();
  if (!isLoopback(host) && isRegistrationOpen) {
    events.emit({ kind: 'registration_unprotected', host });
  }
  // The host can be a name that resolves to loopback.
  isLocal = isLoopback(listener.address);
  return {
    url: listener.url,
    port: listener.port,
    async close({ drainMs = 0, signal } = {}) {
      listener.stopKeepAlive();
      readiness.markDraining();
      await Promise.all([
        watches.drain(drainMs, signal),
        drainMs > 0 && drainLeases({ registry, clock, events, durationMs: drainMs, signal }),
      ]);
      deadPeers.close();
      // The registry closes first, because the listener would treat lease connections as idle and cut them.
      await registry.close();
      streams.close();
      await listener.close();
    },
  };
}

/** Starts to listen for the requests of the app. The app has its own error handler, so express needs to create none per request. */
function listen(
  { app, handleHotResource }: ApiApp,
  options: ListenerOptions & Pick<ApiServerOptions, 'parts'>,
  connections: ConnectionLimit,
): Promise<Listener> {
  return startListener(options, {
    handle(request: Request, response: Response) {
      const problem = findCodingProblem(request);
      if (problem) {
        ignoreBody(request, response, options.clock);
        return sendJson(response, problem.status, serializeErrorDetail(problem.detail));
      }
      if (!handleHotResource(request, response)) app(request, response, () => response.destroy());
    },
    formatError: serializeErrorDetail,
    isTakenOver: carriesLease,
    connections,
    classes: createHttpClasses(app, () => options.parts.registry.id ?? UNKNOWN_REGISTRY),
  });
}
