import { raceWithAbort } from '../client/async-waits.js';
import { escapeControls } from '../core/control-characters.js';
import { DEFAULTS } from '../core/defaults.js';
import { parseDialable } from '../core/endpoint.js';
import { getErrorMessage } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { clock, getHostName, ids, instance, random } from '../system.js';
import { LineLimits } from '../telemetry/line-limits.js';
import { VERSION } from '../version.js';
import type { WorkerOptions } from '../worker/running-worker.js';
import { parseCap, parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { type Arguments, type Command, type CommandIo, getShutdownExitCode } from './command.js';
import { LABEL_OPTION, readLabels } from './label-option.js';
import { createLeaseReporter } from './lease-reporter.js';
import { createLog, LOG_OPTIONS } from './log-lines.js';
import { METRICS_OPTIONS, serveMetrics } from './metrics-options.js';
import { createChangePrinter } from './output.js';
import {
  REGISTRATION_OPTIONS,
  readServerAccess,
  readWeight,
  WORKER_PREFIX,
  WORKER_SERVER_OPTIONS,
} from './server-options.js';
import { readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readRequiredTokens } from './token-options.js';
import { BACKEND_OPTIONS, type LoadedBackends, loadBackends } from './worker-backends.js';

/** `anyserve worker`: serves models and keeps them registered. */
export const workerCommand: Command = {
  name: 'worker',
  usage: '[MODULE] [--openai URL] [--llama FILE] [--backend NAME] [--port PORT]',
  summary:
    'Serves models with the Open Inference Protocol over gRPC, and registers their capabilities. MODULE is a file whose ' +
    'default export is a function that declares models: (app) => app.capability({ type: "multiply" }, handler).',
  examples: [
    ['anyserve worker ./my-worker.js', 'serve the models that a module declares'],
    [
      'anyserve worker --openai http://localhost:8000/v1',
      'serve the models of vLLM, SGLang, llama.cpp, Ollama or a similar server',
    ],
    ['anyserve worker --llama ./model.gguf', 'run a language model in this process with llama.cpp'],
    ['anyserve worker --backend echo --cap type=chat', 'serve a model that returns its inputs'],
    ['anyserve worker ./my-worker.js --host 0.0.0.0 --advertise gpu7:50051', 'accept calls from other machines'],
  ],
  options: {
    ...BACKEND_OPTIONS,
    cap: {
      type: 'text',
      value: 'CAP',
      description: 'capability: replaces that of the only model, or extends and overrides those of --openai or --llama',
      repeatable: true,
      suggests: 'capability',
      check: parseCap,
    },
    label: LABEL_OPTION,
    port: {
      type: 'text',
      value: 'PORT',
      description: 'TCP port; 0 picks a free one',
      default: String(DEFAULTS.workerPort),
    },
    host: { type: 'text', value: 'HOST', description: 'address to listen on', default: DEFAULTS.host },
    advertise: {
      type: 'text',
      value: 'HOST:PORT',
      description: 'address where callers reach the worker, if it differs from the address to listen on',
      check: parseDialable,
    },
    id: {
      type: 'text',
      value: 'ID',
      description: 'unique id of the replica; when not given, made from host name, port and six random letters',
      suggests: 'replica ids',
    },
    ...REGISTRATION_OPTIONS,
    ...createTokenFileOption('call-token-file', 'file with accepted tokens, one per line; a call needs one of them'),
    ...SERVER_TLS_OPTIONS,
    ...WORKER_SERVER_OPTIONS,
    ...METRICS_OPTIONS,
    ...LOG_OPTIONS,
    'no-register': { type: 'flag', description: 'serve without registering' },
    'max-concurrency': {
      type: 'text',
      value: 'N',
      description:
        `maximum number of concurrent calls; when not given, ${DEFAULTS.maxConcurrency}, ` +
        `or ${DEFAULTS.engineMaxConcurrency} with --openai, whose engines batch calls`,
    },
    'max-queue': {
      type: 'text',
      value: 'N',
      description: 'maximum number of waiting calls; further calls are rejected',
      default: String(DEFAULTS.maxQueue),
    },
    'max-message-bytes': {
      type: 'text',
      value: 'N',
      description: 'maximum size of a message, sent or received, in bytes',
      default: String(DEFAULTS.maxMessageBytes),
    },
    'max-decoding-bytes': {
      type: 'text',
      value: 'N',
      description: 'maximum memory of all requests in flight, in bytes; further requests are rejected',
      default: String(DEFAULTS.maxDecodingBytes),
    },
    'drain-delay': {
      type: 'text',
      value: 'TIME',
      description:
        'time after SIGTERM to keep accepting calls from callers that found the worker before it was unregistered',
      default: `${DEFAULTS.drainDelayMs / 1000}s`,
    },
    'drain-timeout': {
      type: 'text',
      value: 'TIME',
      description: 'time for calls in flight to finish at shutdown',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
  },
  maxWords: 1,
  words: [{ suggests: 'files' }],
  async run(args, io) {
    const log = createLog(io, args);
    // Every call can cause one.
    const rejections = new LineLimits(log, clock).getLog('unhandled rejection');
    const logRejection = (error: unknown): void =>
      rejections.warn(`unhandled promise rejection in a module: ${getErrorMessage(error)}`, {
        event: 'unhandled_rejection',
        error: getErrorMessage(error),
      });
    process.on('unhandledRejection', logRejection);
    try {
      return await serveModels(args, io, log);
    } finally {
      process.removeListener('unhandledRejection', logRejection);
    }
  },
};

/** Serves models until shutdown. Resolves to the exit code. */
async function serveModels(args: Arguments, io: CommandIo, log: Log): Promise<number> {
  const loaded = await raceWithAbort(loadBackends(args, io, log), io.interrupted);
  // Loaded on demand, because help and completion don't need them.
  const [{ runWorker }, { silenceGrpcLog }, { findOpenTelemetryTracer }] = await Promise.all([
    import('../worker/running-worker.js'),
    import('./grpc-log.js'),
    import('../telemetry/open-telemetry.js'),
  ]);
  silenceGrpcLog(io);
  const served = await serveMetrics(args, async () => {
    const { WorkerMetrics } = await import('../telemetry/worker-metrics.js');
    return new WorkerMetrics({ clock, version: VERSION });
  });
  const running = await runWorker(readWorkerOptions(args, io, loaded), {
    metrics: served?.metrics,
    tracer: await findOpenTelemetryTracer(VERSION),
    clock,
    random,
    ids,
    log,
    hostName: getHostName(),
    instance,
    version: VERSION,
  });
  const { endpoint } = running.replica;
  io.stdout.write(
    args.hasFlag('json')
      ? `${escapeControls(JSON.stringify({ listening: endpoint }))}\n`
      : `serving on ${escapeControls(endpoint)}\n`,
  );
  const stop = (): void => void running.stop().catch(() => {});
  // SIGTERM drains, so that callers don't notice the shutdown. Ctrl-C stops without the drain delay.
  const shutDown = (): void => (io.interrupted.reason === 'SIGTERM' ? void running.drain().catch(() => {}) : stop());
  io.interrupted.addEventListener('abort', shutDown, { once: true });
  io.forceQuit.addEventListener('abort', stop, { once: true });
  if (io.interrupted.aborted) shutDown();
  await running.stopped.finally(() => served?.listener.close());
  return getShutdownExitCode(io.interrupted);
}

/** Reads the options of the worker. Throws `usage`. */
function readWorkerOptions(args: Arguments, io: CommandIo, { backends, capabilities }: LoadedBackends): WorkerOptions {
  const readNumber = (name: string, min: number, max = 2 ** 31 - 1): number =>
    parseWholeNumber(name, args.getText(name) ?? '', min, max);
  const registers = !args.hasFlag('no-register');
  return {
    backends,
    port: readNumber('port', 0, 65535),
    host: args.getText('host') ?? DEFAULTS.host,
    id: args.getText('id'),
    advertise: args.getText('advertise'),
    weight: readWeight(args),
    servers: registers ? args.getTexts('server') : [],
    serverAccess: registers ? readServerAccess(args, io, WORKER_PREFIX) : {},
    capabilities,
    labels: readLabels(args),
    callTokens: readRequiredTokens(args, io, 'call-token-file'),
    tls: readServerTls(args, io),
    maxConcurrency: args.getText('max-concurrency') === undefined ? undefined : readNumber('max-concurrency', 1),
    maxQueue: readNumber('max-queue', 0),
    maxMessageBytes: readNumber('max-message-bytes', 1024),
    maxDecodingBytes: readNumber('max-decoding-bytes', 1024, Number.MAX_SAFE_INTEGER),
    drainDelayMs: parseDurationMs('drain-delay', args.getText('drain-delay') ?? ''),
    drainTimeoutMs: parseDurationMs('drain-timeout', args.getText('drain-timeout') ?? ''),
    onLeaseChange: createLeaseReporter(createChangePrinter(args.hasFlag('json'), io)),
  };
}
