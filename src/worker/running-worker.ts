import { setMaxListeners } from 'node:events';
import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { sleep } from '../client/async-waits.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import type { Capability } from '../core/capability.js';
import { parseAdvertisedGrpc, parseDialable } from '../core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { HealthChange } from '../core/health.js';
import { createReplicaId, parseReplicaId } from '../core/ids.js';
import { isLoopback } from '../core/loopback.js';
import type { Clock, Log, Random } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import type { ServerTls } from '../core/tls.js';
import type { TokenSet } from '../credentials/token-set.js';
import { createAdmission } from './admission.js';
import { BackendHealth } from './backend-health.js';
import { type GrpcServer, startGrpcServer } from './grpc-server.js';
import { createModelTable, type ModelTable } from './model-table.js';
import { getMaxConcurrency, listCurrentModels, listServedModels } from './served-models.js';
import type { Worker, WorkerSettings } from './worker-settings.js';

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
export interface WorkerEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hostName: string;
  /** Differs from one process to the next, also of two containers with one host name. */
  readonly instance: string;
  readonly version: string;
}

/** Serves the backends' models and keeps them registered. Resolves when calls are accepted. */
export async function runWorker(options: WorkerOptions, world: WorkerEnvironment): Promise<Worker> {
  checkLimits(options);
  const worker = new RunningWorker(options, world);
  const replica = await worker.start();
  // Bound, so that a program can pass them around.
  return {
    replica,
    stopped: worker.stopped,
    update: () => worker.update(),
    drain: () => worker.drain(),
    stop: () => worker.stop(),
  };
}

/** A worker from its start to its end: its gRPC server, its registration, and the watches over its backends. */
class RunningWorker {
  /** Resolves when the worker has stopped; rejects when it can no longer register. */
  readonly stopped: Promise<void>;
  readonly #options: WorkerOptions;
  readonly #world: WorkerEnvironment;
  readonly #models: ModelTable;
  readonly #api: ApiClient | undefined;
  readonly #watches: BackendHealth;
  /** Aborted when streams are to end. */
  readonly #leaving = new AbortController();
  readonly #draining = new AbortController();
  /** Ends the drain delay. */
  readonly #hurry = new AbortController();
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void };
  #server: GrpcServer | undefined;
  #keeper: LeaseKeeper | undefined;
  #hasRoom = true;
  #isStopping = false;

  constructor(options: WorkerOptions, world: WorkerEnvironment) {
    this.#options = options;
    this.#world = world;
    this.#models = createModelTable(listServedModels(options));
    this.#api = options.servers.length > 0 ? new ApiClient(options.servers, options.serverAccess) : undefined;
    this.#watches = new BackendHealth(options.backends, world.clock, (change) => this.#onHealthChange(change));
    // Every stream listens on it, and there can be many at once.
    setMaxListeners(0, this.#leaving.signal);
    this.#settle = { resolve: () => {}, reject: () => {} };
    this.stopped = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A program that does not wait for it must not end with its rejection.
    this.stopped.catch(() => {});
  }

  /** Listens and registers. Resolves to the replica when calls are accepted. */
  async start(): Promise<Replica> {
    const { clock, random, log } = this.#world;
    const { host, callTokens, tls, onLeaseChange, backends } = this.#options;
    // An id or an endpoint that cannot be registered is refused before anything listens.
    this.#replicaAt(1);
    const server = await this.#listen();
    if (!isLoopback(host) && !callTokens && !tls?.().ca) {
      log.warn(`whoever reaches ${host} can call the models; ask for a token with --call-token-file`);
    }
    const replica = this.#replicaAt(server.port);
    server.setServing(this.#isReady);
    this.#server = server;
    this.#keeper =
      this.#api &&
      new LeaseKeeper({ api: this.#api, replica, clock, random, ready: this.#isReady, onChange: onLeaseChange });
    this.#watches.start();
    for (const backend of backends) {
      backend.watchModels?.(
        () => void this.update().catch((error) => log.warn(`cannot update: ${getErrorMessage(error)}`)),
      );
    }
    this.#keeper?.run().catch((error) => this.#endUnregistered(server, error));
    return replica;
  }

  async update(): Promise<void> {
    this.#models.replace(listCurrentModels(this.#options));
    if (this.#server) await this.#keeper?.update(this.#replicaAt(this.#server.port));
  }

  async drain(): Promise<void> {
    if (!this.#draining.signal.aborted) {
      this.#draining.abort();
      this.#server?.setServing(false);
      this.#keeper?.drain();
      await sleep(this.#world.clock, this.#keeper ? this.#options.drainDelayMs : 0, this.#hurry.signal);
      if (!this.#isStopping) await this.stop();
    }
    await this.stopped;
  }

  async stop(): Promise<void> {
    this.#hurry.abort();
    if (this.#isStopping) this.#server?.abort();
    else {
      this.#isStopping = true;
      this.#leave().then(this.#settle.resolve, this.#settle.reject);
    }
    await this.stopped;
  }

  get #isReady(): boolean {
    return this.#watches.areWell && this.#hasRoom;
  }

  #listen(): Promise<GrpcServer> {
    const { clock, log, version } = this.#world;
    const { maxQueue } = this.#options;
    return startGrpcServer({
      ...this.#options,
      models: this.#models,
      admission: createAdmission({ maxConcurrency: getMaxConcurrency(this.#options), maxQueue }),
      clock,
      log,
      version,
      leaving: this.#leaving.signal,
      isWell: () => this.#isReady && !this.#draining.signal.aborted,
      onFull: (reason) => {
        this.#hasRoom = reason === undefined;
        log.warn(this.#hasRoom ? 'there is room for connections again' : `out of the list: ${reason}`);
        this.#reportReady();
      },
      onFailure: (error) => {
        // A failed call is noticed before the next regular check.
        if (error instanceof AnyserveError && error.code === 'unavailable') this.#watches.lookNow();
      },
    });
  }

  /** Reports whether calls are welcome to health checks and to the registry. */
  #reportReady(): void {
    if (!this.#server || this.#draining.signal.aborted) return;
    this.#server.setServing(this.#isReady);
    this.#keeper?.setReady(this.#isReady);
  }

  #onHealthChange(change: HealthChange): void {
    const { log } = this.#world;
    if (change.kind === 'waiting') log.info(`waiting for ${change.reason}`);
    if (change.kind === 'unhealthy') log.warn(`out of the list: ${change.reason}`);
    this.#reportReady();
  }

  #replicaAt(port: number): Replica {
    const { id, advertise, host } = this.#options;
    const parse = this.#api ? parseAdvertisedGrpc : parseDialable;
    return {
      id: parseReplicaId(id ?? createReplicaId(this.#world, port)),
      endpoint: parse(advertise ?? `${bracketed(host)}:${port}`),
      capabilities: this.#models.models.flatMap(({ capabilities }) => capabilities),
    };
  }

  /** Finishes the calls in flight within the drain timeout, and stops. */
  async #leave(): Promise<void> {
    const { clock, log } = this.#world;
    const { drainTimeoutMs } = this.#options;
    await this.#keeper?.stop();
    this.#draining.abort();
    this.#leaving.abort();
    const finished = new AbortController();
    const tooLong = sleep(clock, drainTimeoutMs, finished.signal).then(() => {
      if (finished.signal.aborted) return;
      log.warn(`calls still run after ${drainTimeoutMs} ms; ending them`);
      this.#server?.abort();
    });
    await this.#server?.finish().catch((error) => log.warn(getErrorMessage(error)));
    finished.abort();
    await tooLong;
    await this.#cleanUp();
  }

  /** Ends a worker whose registration is refused for good. */
  async #endUnregistered(server: GrpcServer, error: unknown): Promise<void> {
    server.abort();
    await this.#cleanUp().catch((failure) => this.#world.log.warn(getErrorMessage(failure)));
    this.#settle.reject(error);
  }

  async #cleanUp(): Promise<void> {
    this.#watches.stop();
    this.#api?.close();
    for (const backend of this.#options.backends) await backend.close?.();
  }
}

function checkLimits({ maxMessageBytes, maxDecodingBytes }: WorkerOptions): void {
  if (maxDecodingBytes >= maxMessageBytes) return;
  throw new AnyserveError(
    'usage',
    `--max-decoding-bytes ${maxDecodingBytes} has no room for one message of --max-message-bytes ${maxMessageBytes}; give at least as much`,
  );
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
