import { raceWithAbort } from '../client/async-waits.js';
import { escapeControls } from '../core/control-characters.js';
import { DEFAULTS } from '../core/defaults.js';
import { getErrorMessage } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { clock, getHostName, instance, random } from '../system.js';
import { VERSION } from '../version.js';
import { parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import type { Arguments, Command, CommandIo } from './command.js';
import { createLeaseReporter } from './lease-reporter.js';
import { createLog } from './output.js';
import { readServerAccess, WORKER_PREFIX, WORKER_SERVER_OPTIONS } from './server-options.js';
import { getShutdownExitCode } from './shutdown-signals.js';
import { readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readRequiredTokens } from './token-options.js';
import { BACKEND_OPTIONS, loadBackends } from './worker-backends.js';

/** `anyserve worker`: serves models, and keeps them registered. */
export const workerCommand: Command = {
  name: 'worker',
  usage: '[MODULE] [--openai URL] [--llama FILE] [--backend NAME] [--port PORT]',
  summary:
    'Serves models over gRPC in the Open Inference Protocol and registers what they can do. MODULE is a file whose ' +
    'default export is a function that declares them: (app) => app.capability({ type: "multiply" }, handler).',
  examples: [
    ['anyserve worker ./my-worker.js', 'the models that the module declares'],
    ['anyserve worker --openai http://localhost:8000/v1', 'those of vLLM, SGLang, llama.cpp, Ollama and their like'],
    ['anyserve worker --llama ./model.gguf', 'a language model in this process, by llama.cpp'],
    ['anyserve worker --backend echo --cap type=chat', 'a model that answers with what it is given'],
    ['anyserve worker ./my-worker.js --host 0.0.0.0 --advertise gpu7:50051', 'for callers on other machines'],
  ],
  options: {
    ...BACKEND_OPTIONS,
    cap: {
      type: 'text',
      value: 'CAP',
      description: 'what it can do: in place of what the one model says, or over what --openai or --llama says',
      repeatable: true,
      suggests: 'capability',
    },
    port: {
      type: 'text',
      value: 'PORT',
      description: 'the TCP port; 0 picks a free one',
      default: String(DEFAULTS.workerPort),
    },
    host: { type: 'text', value: 'HOST', description: 'the address to listen on', default: DEFAULTS.host },
    advertise: {
      type: 'text',
      value: 'HOST:PORT',
      description: 'where callers reach it, when that is not where it listens',
    },
    id: {
      type: 'text',
      value: 'ID',
      description: "the replica's name; made of host name, port and six random letters when not given",
      suggests: 'replica ids',
    },
    'call-token-file': createTokenFileOption('tokens one of which a call must show, one a line', 'ANYSERVE_CALL_TOKEN'),
    ...SERVER_TLS_OPTIONS,
    ...WORKER_SERVER_OPTIONS,
    'no-register': { type: 'flag', description: 'serve without registering' },
    'max-concurrency': {
      type: 'text',
      value: 'N',
      description:
        `maximum number of calls that run at once; ${DEFAULTS.maxConcurrency} when not given, ` +
        `${DEFAULTS.engineMaxConcurrency} with --openai, whose engines batch calls`,
    },
    'max-queue': {
      type: 'text',
      value: 'N',
      description: 'the most calls that wait; others are refused',
      default: String(DEFAULTS.maxQueue),
    },
    'max-message-bytes': {
      type: 'text',
      value: 'N',
      description: 'the largest message taken or sent',
      default: String(DEFAULTS.maxMessageBytes),
    },
    'max-decoding-bytes': {
      type: 'text',
      value: 'N',
      description: 'what all requests together may hold in memory; others are refused',
      default: String(DEFAULTS.maxDecodingBytes),
    },
    'drain-delay': {
      type: 'text',
      value: 'TIME',
      description: 'after SIGTERM, how long it goes on taking calls of those who found it before it left the list',
      default: `${DEFAULTS.drainDelayMs / 1000}s`,
    },
    'drain-timeout': {
      type: 'text',
      value: 'TIME',
      description: 'how long calls in flight may take when it stops',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
  },
  maxWords: 1,
  words: [{ suggests: 'files' }],
  async run(args, io) {
    const log = createLog(io);
    const leftBehind = (error: unknown): void => log.warn(`a module left an error behind: ${getErrorMessage(error)}`);
    process.on('unhandledRejection', leftBehind);
    try {
      return await serveModels(args, io, log);
    } finally {
      process.removeListener('unhandledRejection', leftBehind);
    }
  },
};

/** Serves until it is told to stop; resolves to the exit code. */
async function serveModels(args: Arguments, io: CommandIo, log: Log): Promise<number> {
  const whole = (name: string, least: number): number =>
    parseWholeNumber(name, args.text(name) ?? '', least, 2 ** 31 - 1);
  const { backends, capabilities } = await raceWithAbort(loadBackends(args, io, log), io.interrupted);
  const json = args.flag('json');
  // Loaded here, because the help and completion need nothing of it.
  const [{ runWorker }, { silenceGrpcLog }] = await Promise.all([
    import('../worker/running-worker.js'),
    import('./grpc-log.js'),
  ]);
  silenceGrpcLog(io);
  const running = await runWorker(
    {
      backends,
      port: parseWholeNumber('port', args.text('port') ?? '', 0, 65535),
      host: args.text('host') ?? DEFAULTS.host,
      id: args.text('id'),
      advertise: args.text('advertise'),
      servers: args.flag('no-register') ? [] : args.texts('server'),
      serverAccess: args.flag('no-register') ? {} : readServerAccess(args, io, WORKER_PREFIX),
      capabilities,
      callTokens: readRequiredTokens(args, io, 'call-token-file'),
      tls: readServerTls(args, io),
      maxConcurrency: args.text('max-concurrency') === undefined ? undefined : whole('max-concurrency', 1),
      maxQueue: whole('max-queue', 0),
      maxMessageBytes: whole('max-message-bytes', 1024),
      maxDecodingBytes: parseWholeNumber(
        'max-decoding-bytes',
        args.text('max-decoding-bytes') ?? '',
        1024,
        Number.MAX_SAFE_INTEGER,
      ),
      drainDelayMs: parseDurationMs('drain-delay', args.text('drain-delay') ?? ''),
      drainTimeoutMs: parseDurationMs('drain-timeout', args.text('drain-timeout') ?? ''),
      onLeaseChange: createLeaseReporter(json, io),
    },
    { clock, random, log, hostName: getHostName(), instance, version: VERSION },
  );
  const { endpoint } = running.replica;
  io.stdout.write(
    json ? `${escapeControls(JSON.stringify({ listening: endpoint }))}\n` : `serving on ${escapeControls(endpoint)}\n`,
  );
  const stop = (): void => void running.stop().catch(() => {});
  // SIGTERM is how a service is told to go, and its callers are to notice nothing; who sits before it need not wait.
  const end = (): void => (io.interrupted.reason === 'SIGTERM' ? void running.drain().catch(() => {}) : stop());
  io.interrupted.addEventListener('abort', end, { once: true });
  io.forceQuit.addEventListener('abort', stop, { once: true });
  if (io.interrupted.aborted) end();
  await running.stopped;
  return getShutdownExitCode(io.interrupted);
}
