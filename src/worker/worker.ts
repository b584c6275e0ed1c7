import { setMaxListeners } from 'node:events';
import { ApiClient, type ServerAccess } from '../client/api-client.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { sleep } from '../client/sleep.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { parseAdvertisedGrpc, parseDialable } from '../core/endpoint.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { HealthChange } from '../core/health.js';
import { defaultReplicaId, parseReplicaId } from '../core/ids.js';
import { isLoopback } from '../core/loopback.js';
import type { Clock, Log, Random } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import type { ServerTls } from '../core/tls.js';
import type { TokenSet } from '../credentials/token-set.js';
import { createAdmission } from './admission.js';
import type { Model } from './backend.js';
import { BackendWatches } from './backend-watches.js';
import { listenGrpc } from './grpc-server.js';
import { createModelTable } from './model-table.js';
import type { Worker, WorkerSettings } from './worker-handle.js';

/** How a worker serves, with what it needs of the command line or the library. */
export interface WorkerOptions extends WorkerSettings {
  /** How to ask the API servers. */
  readonly serverAccess?: ServerAccess | undefined;
  /** Registered in place of what the only model declares. */
  readonly capabilities?: readonly Capability[] | undefined;
  /** Calls must show one of these tokens. Default: no token is required. */
  readonly callTokens?: (() => TokenSet) | undefined;
  /** Certificate and key, read for each use. Default: plain text. */
  readonly tls?: (() => ServerTls) | undefined;
}

/** What the world gives a worker. */
export interface WorkerWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hostName: string;
  /** Differs from one process to the next, also of two containers with one host name. */
  readonly instance: string;
  readonly version: string;
}

/** Serves the backends' models and keeps them registered. Resolves when calls are taken. */
export async function startWorker(options: WorkerOptions, world: WorkerWorld): Promise<Worker> {
  const { clock, random, log, version } = world;
  checkLimits(options);
  const models = createModelTable(servedModels(options));
  const api = options.servers.length > 0 ? new ApiClient(options.servers, options.serverAccess) : undefined;
  // What cannot be registered is refused before anything listens.
  replicaAt(1);

  const leaving = new AbortController();
  // Every stream listens on it, and there may be many at once.
  setMaxListeners(0, leaving.signal);
  const draining = new AbortController();
  /** Ends the drain's delay. */
  const hurry = new AbortController();
  const watches = new BackendWatches(options.backends, clock, onHealthChange);
  let hasRoom = true;
  const isReady = (): boolean => watches.areWell && hasRoom;
  /** Reports whether calls are welcome, to those who ask and to the registry; does nothing until both are there. */
  let reportReady = (): void => {};
  const server = await listenGrpc({
    ...options,
    models,
    admission: createAdmission({ maxConcurrency: concurrencyOf(options), maxQueue: options.maxQueue }),
    clock,
    log,
    version,
    leaving: leaving.signal,
    isWell: () => isReady() && !draining.signal.aborted,
    onFull(reason) {
      hasRoom = reason === undefined;
      log.warn(hasRoom ? 'there is room for connections again' : `out of the list: ${reason}`);
      reportReady();
    },
    onFailure(error) {
      // It need not wait for the next look to be noticed.
      if (error instanceof AnyserveError && error.code === 'unavailable') watches.lookNow();
    },
  });
  if (!isLoopback(options.host) && !options.callTokens && !options.tls?.().ca) {
    log.warn(`whoever reaches ${options.host} can call the models; ask for a token with --call-token-file`);
  }
  const replica = replicaAt(server.port);
  server.setServing(isReady());
  const keeper =
    api && new LeaseKeeper({ api, replica, clock, random, ready: isReady(), onChange: options.onLeaseChange });
  reportReady = () => {
    if (draining.signal.aborted) return;
    server.setServing(isReady());
    keeper?.setReady(isReady());
  };
  watches.start();
  for (const backend of options.backends) {
    backend.watchModels?.(() => void update().catch((error) => log.warn(`cannot update: ${messageOf(error)}`)));
  }

  let isStopping = false;
  let resolve: () => void;
  let reject: (error: unknown) => void;
  const stopped = new Promise<void>((...settle) => {
    [resolve, reject] = settle;
  });
  // Whoever does not look at it must not be brought down by it.
  stopped.catch(() => {});
  keeper?.run().catch(async (error) => {
    server.abort();
    await cleanUp().catch((failure) => log.warn(messageOf(failure)));
    reject(error);
  });

  function onHealthChange(change: HealthChange): void {
    if (change.kind === 'waiting') log.info(`waiting for ${change.reason}`);
    if (change.kind === 'unhealthy') log.warn(`out of the list: ${change.reason}`);
    reportReady();
  }

  async function update(): Promise<void> {
    models.replace(presentModels(options));
    await keeper?.update(replicaAt(server.port));
  }

  async function cleanUp(): Promise<void> {
    watches.stop();
    api?.close();
    for (const backend of options.backends) await backend.close?.();
  }

  function replicaAt(port: number): Replica {
    const parse = api ? parseAdvertisedGrpc : parseDialable;
    return {
      id: parseReplicaId(options.id ?? defaultReplicaId(world, port)),
      endpoint: parse(options.advertise ?? `${bracketed(options.host)}:${port}`),
      capabilities: models.models.flatMap(({ capabilities }) => capabilities),
    };
  }

  async function leave(): Promise<void> {
    await keeper?.stop();
    draining.abort();
    leaving.abort();
    const finished = new AbortController();
    const tooLong = sleep(clock, options.drainTimeoutMs, finished.signal).then(() => {
      if (finished.signal.aborted) return;
      log.warn(`calls still run after ${options.drainTimeoutMs} ms; ending them`);
      server.abort();
    });
    await server.finish().catch((error) => log.warn(messageOf(error)));
    finished.abort();
    await tooLong;
    await cleanUp();
  }

  async function stop(): Promise<void> {
    hurry.abort();
    if (isStopping) server.abort();
    else {
      isStopping = true;
      leave().then(resolve, reject);
    }
    await stopped;
  }

  async function drain(): Promise<void> {
    if (!draining.signal.aborted) {
      draining.abort();
      server.setServing(false);
      keeper?.drain();
      await sleep(clock, keeper ? options.drainDelayMs : 0, hurry.signal);
      if (!isStopping) await stop();
    }
    await stopped;
  }

  return { replica, stopped, update, drain, stop };
}

function checkLimits({ maxMessageBytes, maxDecodingBytes }: WorkerOptions): void {
  if (maxDecodingBytes >= maxMessageBytes) return;
  throw new AnyserveError(
    'usage',
    `--max-decoding-bytes ${maxDecodingBytes} has no room for one message of --max-message-bytes ${maxMessageBytes}; give at least as much`,
  );
}

function servedModels({ backends, capabilities }: WorkerOptions): readonly Model[] {
  const models = presentModels({ backends, capabilities });
  if (models.length === 0) {
    throw new AnyserveError('usage', 'there is no model to serve; give a module or a backend that has one');
  }
  if (!capabilities || capabilities.length === 0 || models.length === 1) return models;
  throw new AnyserveError(
    'usage',
    `capabilities can be given for one model; this worker has ${models.length}, which say their own`,
  );
}

/** The models of all backends as they are now; the capabilities given are those of the one model. */
function presentModels({ backends, capabilities }: Pick<WorkerOptions, 'backends' | 'capabilities'>): readonly Model[] {
  const models = backends.flatMap((backend) => backend.models);
  const [only, ...others] = models;
  if (!only || others.length > 0 || !capabilities || capabilities.length === 0) return models;
  return [{ ...only, capabilities }];
}

function concurrencyOf({ maxConcurrency, backends }: WorkerOptions): number {
  return maxConcurrency ?? Math.max(...backends.map((backend) => backend.maxConcurrency ?? DEFAULTS.maxConcurrency));
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
