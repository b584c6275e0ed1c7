import { setMaxListeners } from 'node:events';
import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { sleep } from '../client/async-waits.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import type { Capability, Pairs } from '../core/capability.js';
import { parseAdvertisedGrpc, parseDialable } from '../core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { HealthChange } from '../core/health.js';
import { isLoopback } from '../core/host.js';
import { createReplicaId, parseReplicaId } from '../core/ids.js';
import type { Clock, Ids, Log, Random, ServerTracer } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import type { ServerTls } from '../core/tls.js';
import type { TokenSet } from '../credentials/token-set.js';
import { addLabels } from '../json/capability-json.js';
import { LineLimits } from '../telemetry/line-limits.js';
import type { WorkerMetrics } from '../telemetry/worker-metrics.js';
import { type Admission, createAdmission } from './admission.js';
import { BackendHealth } from './backend-health.js';
import { type GrpcServer, startGrpcServer } from './grpc-server.js';
import { createModelTable, type ModelTable } from './model-table.js';
import { getMaxConcurrency, listCurrentModels, listServedModels } from './served-models.js';
import { WorkerLoad } from './worker-load.js';
import type { Worker, WorkerSettings } from './worker-settings.js';

/** Options of a worker: the settings, and the access to API servers, tokens and certificates. */
export interface WorkerOptions extends WorkerSettings {
  /** Tokens, TLS and timeouts for requests to the API servers. */
  readonly serverAccess?: ServerAccess | undefined;
  /** Capabilities to register instead of those that the worker's only model declares. */
  readonly capabilities?: readonly Capability[] | undefined;
  /** Pairs to add to every capability. */
  readonly labels?: Pairs | undefined;
  /** Returns the accepted call tokens. Default: no token is required. */
  readonly callTokens?: (() => TokenSet) | undefined;
  /** Returns the current certificate and key. Default: no TLS. */
  readonly tls?: (() => ServerTls) | undefined;
}

/** Environment of a worker: clock, randomness, log, and the identity of the process. */
export interface WorkerEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly log: Log;
  readonly hostName: string;
  /** Distinguishes processes, even in two containers with the same host name. */
  readonly instance: string;
  readonly version: string;
  /** Traces the calls. Default: none. */
  readonly tracer?: ServerTracer | undefined;
  /** Counts the calls. Default: they are not counted. */
  readonly metrics?: WorkerMetrics | undefined;
}

/** Starts a worker that serves the backends' models and keeps them registered. Resolves when it accepts calls. */
export async function runWorker(options: WorkerOptions, world: WorkerEnvironment): Promise<Worker> {
  checkLimits(options);
  const worker = new RunningWorker(options, world);
  const replica = await worker.start();
  // Closures, so that a program can pass the methods around without the object.
  return {
    replica,
    stopped: worker.stopped,
    update: () => worker.update(),
    drain: () => worker.drain(),
    stop: () => worker.stop(),
  };
}

/** A running worker: its gRPC server, its registration, and the health of its backends. */
class RunningWorker {
  /** Resolves when the worker has stopped; rejects when it can no longer register. */
  readonly stopped: Promise<void>;
  readonly #options: WorkerOptions;
  readonly #world: WorkerEnvironment;
  readonly #models: ModelTable;
  readonly #admission: Admission;
  readonly #load: WorkerLoad;
  readonly #api: ApiClient | undefined;
  readonly #health: BackendHealth;
  /** Aborted when streams must end. */
  readonly #leaving = new AbortController();
  readonly #draining = new AbortController();
  /** Aborted to end the drain delay early. */
  readonly #skipDelay = new AbortController();
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void };
  #server: GrpcServer | undefined;
  #keeper: LeaseKeeper | undefined;
  #hasRoom = true;
  #isStopping = false;

  constructor(options: WorkerOptions, world: WorkerEnvironment) {
    this.#options = options;
    this.#world = world;
    this.#models = createModelTable(listServedModels(options));
    this.#showModels();
    this.#admission = createAdmission(
      { maxConcurrency: getMaxConcurrency(options), maxQueue: options.maxQueue },
      world.clock,
    );
    this.#load = new WorkerLoad(this.#admission.load);
    this.#api =
      options.servers.length > 0
        ? new ApiClient({ ...options.serverAccess, servers: options.servers, clock: world.clock })
        : undefined;
    this.#health = new BackendHealth(options.backends, world.clock, (change) => this.#onHealthChange(change));
    // Every stream adds a listener, and any number of streams can be open.
    setMaxListeners(0, this.#leaving.signal);
    this.#settle = { resolve: () => {}, reject: () => {} };
    this.stopped = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Prevents an unhandled rejection in programs that don't wait for this promise.
    this.stopped.catch(() => {});
  }

  /** Starts the server and the registration. Resolves to the replica when calls are accepted. */
  async start(): Promise<Replica> {
    const { clock, random, ids, log } = this.#world;
    const { host, callTokens, tls, weight, onLeaseChange, backends } = this.#options;
    // Checks the id and the endpoint before the server listens; the port doesn't matter here.
    this.#createReplica(1);
    const server = await this.#listen();
    if (!isLoopback(host) && !callTokens && !tls?.().ca) {
      log.warn(`anyone who can connect to ${host} can call the models; require a token with --call-token-file`, {
        event: 'calls_unprotected',
        host,
      });
    }
    const replica = this.#createReplica(server.port);
    server.setServing(this.#isReady);
    this.#server = server;
    this.#keeper =
      this.#api &&
      new LeaseKeeper({
        api: this.#api,
        replica,
        instanceId: ids.createInstanceId(),
        clock,
        random,
        ready: this.#isReady,
        weight,
        getLoad: () => this.#load,
        onChange: onLeaseChange,
      });
    this.#health.start();
    for (const backend of backends) {
      backend.watchModels?.(
        () => void this.update().catch((error) => this.#logError(error, 'update_failed', 'cannot update the models: ')),
      );
    }
    // With other backends, the engine's load isn't that of the worker.
    if (backends.length === 1) backends[0]?.watchLoad?.((load) => this.#load.setEngineLoad(load));
    this.#keeper?.run().catch((error) => this.#stopUnregistered(server, error));
    return replica;
  }

  async update(): Promise<void> {
    this.#models.replace(listCurrentModels(this.#options));
    this.#showModels();
    if (this.#server) await this.#keeper?.update(this.#createReplica(this.#server.port));
  }

  async drain(): Promise<void> {
    if (!this.#draining.signal.aborted) {
      this.#draining.abort();
      this.#server?.setServing(false);
      await this.#keeper?.drain();
      await sleep(this.#world.clock, this.#keeper ? this.#options.drainDelayMs : 0, this.#skipDelay.signal);
      if (!this.#isStopping) await this.stop();
    }
    await this.stopped;
  }

  async stop(): Promise<void> {
    this.#skipDelay.abort();
    if (this.#isStopping) this.#server?.abort();
    else {
      this.#isStopping = true;
      this.#shutDown().then(this.#settle.resolve, this.#settle.reject);
    }
    await this.stopped;
  }

  get #isReady(): boolean {
    return this.#health.areHealthy && this.#hasRoom;
  }

  #listen(): Promise<GrpcServer> {
    const { clock, log, version, metrics, tracer } = this.#world;
    const lines = new LineLimits(log, clock);
    return startGrpcServer({
      ...this.#options,
      models: this.#models,
      admission: this.#admission,
      load: this.#load,
      clock,
      lines,
      version,
      metrics,
      tracer,
      leaving: this.#leaving.signal,
      isReady: () => this.#isReady && !this.#draining.signal.aborted,
      onFull: (reason) => {
        this.#hasRoom = reason === undefined;
        const text = this.#hasRoom ? 'ready: there is room for new connections again' : `not ready: ${reason}`;
        lines
          .getLog('connections')
          .warn(text, { event: this.#hasRoom ? 'connections_free' : 'connections_full', reason });
        this.#reportReady();
      },
      onFailure: (error) => {
        // A failed call reveals a failed backend earlier than the next regular check.
        if (error instanceof AnyserveError && error.code === 'unavailable') this.#health.checkNow();
      },
    });
  }

  /** Reports the readiness to health checks and to the registry. */
  #reportReady(): void {
    if (!this.#server || this.#draining.signal.aborted) return;
    this.#server.setServing(this.#isReady);
    this.#keeper?.setReady(this.#isReady);
  }

  #onHealthChange(change: HealthChange): void {
    const { log } = this.#world;
    if (change.kind === 'waiting')
      log.info(`waiting for ${change.reason}`, { event: 'waiting', reason: change.reason });
    if (change.kind === 'unhealthy')
      log.warn(`not ready: ${change.reason}`, { event: 'unhealthy', reason: change.reason });
    this.#reportReady();
  }

  #showModels(): void {
    this.#world.metrics?.setModels(this.#models.models.map(({ name }) => name));
  }

  #createReplica(port: number): Replica {
    const { id, advertise, host, labels = [] } = this.#options;
    const parse = this.#api ? parseAdvertisedGrpc : parseDialable;
    return {
      id: parseReplicaId(id ?? createReplicaId(this.#world, port)),
      endpoint: parse(advertise ?? `${formatHost(host)}:${port}`),
      capabilities: addLabels(
        this.#models.models.flatMap(({ capabilities }) => capabilities),
        labels,
      ),
    };
  }

  /** Deregisters, waits for the calls in flight up to the drain timeout, and stops. */
  async #shutDown(): Promise<void> {
    const { clock, log } = this.#world;
    const { drainTimeoutMs } = this.#options;
    await this.#keeper?.stop();
    this.#draining.abort();
    this.#leaving.abort();
    const finished = new AbortController();
    const timeout = sleep(clock, drainTimeoutMs, finished.signal).then(() => {
      if (finished.signal.aborted) return;
      log.warn(`calls are still running after ${drainTimeoutMs} ms; ending them`, { event: 'drain_timed_out' });
      this.#server?.abort();
    });
    await this.#server?.finish().catch((error) => this.#logError(error, 'shutdown_failed'));
    finished.abort();
    await timeout;
    await this.#cleanUp();
  }

  /** Stops a worker whose registration has failed permanently. */
  async #stopUnregistered(server: GrpcServer, error: unknown): Promise<void> {
    server.abort();
    await this.#cleanUp().catch((failure) => this.#logError(failure, 'shutdown_failed'));
    this.#settle.reject(error);
  }

  #logError(error: unknown, event: string, before = ''): void {
    this.#world.log.warn(`${before}${getErrorMessage(error)}`, { event, error: getErrorMessage(error) });
  }

  async #cleanUp(): Promise<void> {
    this.#health.stop();
    this.#api?.close();
    for (const backend of this.#options.backends) await backend.close?.();
  }
}

function checkLimits({ maxMessageBytes, maxDecodingBytes }: WorkerOptions): void {
  if (maxDecodingBytes >= maxMessageBytes) return;
  throw new AnyserveError(
    'usage',
    `--max-decoding-bytes ${maxDecodingBytes} is less than --max-message-bytes ${maxMessageBytes}; set it to at least that value`,
  );
}

function formatHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
