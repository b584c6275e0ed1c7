import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { CallerKeys } from '../credentials/caller-keys.js';
import { parseUpstreamKeys } from '../credentials/upstream-keys.js';
import { parseAliases } from '../gateway/aliases.js';
import { clock } from '../system.js';
import { createRefusalLog } from '../telemetry/refused-request.js';
import { parseChoice, parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { CallLog } from './call-log.js';
import { type Arguments, type Command, type CommandIo, getShutdownExitCode, waitForShutdown } from './command.js';
import { setOldGrowth, YoungGeneration } from './gateway-heap.js';
import { printListening, runGatewayProcesses } from './gateway-processes.js';
import { createLog, LOG_OPTIONS, LogLines } from './log-lines.js';
import { readSelector, WHERE_OPTION } from './selector-options.js';
import { readServerAccess, WORKER_PREFIX, WORKER_SERVER_OPTIONS } from './server-options.js';
import { readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readClientToken, readSecretFile } from './token-options.js';

/** Maximum number of processes. */
const MAX_PROCESSES = 256;

const NO_LOG: Log = { info: () => {}, warn: () => {} };

const PICKERS = ['p2c', 'random', 'round-robin', 'least-request', 'affinity'] as const;

/** `anyserve gateway`: serves OpenAI's API with the replicas of a fleet. */
export const gatewayCommand: Command = {
  name: 'gateway',
  usage: '[--port PORT] [--server URL] [--alias NAME=MODEL]',
  summary:
    "Serves OpenAI's HTTP API. Each call goes to a replica that offers the model in the request, and to another one if it fails. " +
    'Replicas are HTTP servers that "anyserve register --openai" has registered, and workers with a text or an embedding model.',
  examples: [
    ['anyserve gateway', 'listen on 127.0.0.1:8000, with the replicas of the API server on this machine'],
    ['anyserve gateway --server http://a:8080 --server http://b:8080 --host 0.0.0.0', 'two API servers; all addresses'],
    [
      'anyserve gateway --alias gpt-4o=qwen2.5-72b --alias gpt-4o=llama-3.1-70b',
      'another name for a model, with a substitute',
    ],
    [
      'anyserve gateway --key-file keys',
      'only callers with a key; a line of the file is: NAME KEY [steer] [where=SELECTOR]',
    ],
  ],
  options: {
    port: {
      type: 'text',
      value: 'PORT',
      description: 'TCP port; 0 picks a free one',
      default: String(DEFAULTS.gatewayPort),
    },
    host: { type: 'text', value: 'HOST', description: 'address to listen on', default: DEFAULTS.host },
    processes: {
      type: 'text',
      value: 'N',
      description:
        'number of processes that share the port, each on one core; --queue and --buffer-limit are for all of them together, ' +
        'and each picks replicas by its own calls',
      default: '1',
    },
    alias: {
      type: 'text',
      value: 'NAME=MODEL',
      description: 'another name for a model; repeat it for one name to give substitutes, which are tried in turn',
      repeatable: true,
      spaced: true,
      check: (value) => parseAliases([value]),
    },
    where: WHERE_OPTION,
    pick: {
      type: 'text',
      value: 'POLICY',
      description: `how the replica of a call is picked: ${PICKERS.join(', ')}; docs/calls.md compares them`,
      default: 'p2c',
    },
    'hedge-after': {
      type: 'text',
      value: 'TIME',
      description: 'send a call without a response after this time to a second replica too; when not given, never',
    },
    'key-file': {
      type: 'text',
      value: 'FILE',
      description:
        'file with the keys of callers, a line for each: NAME KEY [steer] [where=SELECTOR]; when not given, everyone can call',
    },
    'upstream-key-file': {
      type: 'text',
      value: 'FILE',
      description: 'file with the keys to send to replicas, a line for each: ORIGIN KEY',
    },
    'upstream-allow': {
      type: 'text',
      value: 'NETWORK',
      description:
        'network whose addresses can be called, such as 10.0.0.0/8; when not given, all but link-local addresses',
      repeatable: true,
      spaced: true,
    },
    ...createTokenFileOption('call-token-file', 'file with the token to send to gRPC replicas'),
    'call-tls': { type: 'flag', description: 'call gRPC replicas over TLS, with the certificates of --server-tls-*' },
    'allow-path': {
      type: 'text',
      value: 'PATH',
      description: 'forward this path after /v1 too, such as /messages',
      repeatable: true,
      spaced: true,
    },
    'pass-header': {
      type: 'text',
      value: 'NAME',
      description: 'pass this request header on to replicas too',
      repeatable: true,
      spaced: true,
    },
    cors: {
      type: 'text',
      value: 'ORIGIN',
      description: 'let web pages of this origin call the gateway; * for all pages',
    },
    'allowed-host': {
      type: 'text',
      value: 'NAME',
      description:
        'Host header to accept without --key-file on a loopback address; always accepted: localhost, *.localhost, *.local, ' +
        '*.internal and the name of this machine',
      repeatable: true,
      spaced: true,
    },
    'max-body-bytes': {
      type: 'text',
      value: 'N',
      description: 'maximum size of a request body, in bytes',
      default: String(DEFAULTS.maxGatewayBodyBytes),
    },
    'buffer-limit': {
      type: 'text',
      value: 'N',
      description: 'maximum total size of the request bodies in memory, in bytes',
      default: String(DEFAULTS.maxGatewayBufferBytes),
    },
    queue: {
      type: 'text',
      value: 'N',
      description:
        'maximum number of calls that wait because all replicas of their model are at their limit, or ask not to be called',
      default: String(DEFAULTS.maxQueuedCalls),
    },
    'queue-timeout': {
      type: 'text',
      value: 'TIME',
      description: 'maximum time that a call waits for such replicas',
      default: `${DEFAULTS.queueTimeoutMs / 1000}s`,
    },
    'drain-delay': {
      type: 'text',
      value: 'TIME',
      description: 'time after SIGTERM to keep accepting calls, until load balancers have seen that /readyz fails',
      default: `${DEFAULTS.drainDelayMs / 1000}s`,
    },
    drain: {
      type: 'text',
      value: 'TIME',
      description: 'time for calls to finish after that',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
    ...LOG_OPTIONS,
    ...SERVER_TLS_OPTIONS,
    ...WORKER_SERVER_OPTIONS,
  },
  maxWords: 0,
  async run(args, io) {
    const [delayMs = 0, maxMs = 0] = ['drain-delay', 'drain'].map((name) =>
      parseDurationMs(name, args.getText(name) ?? '', 0),
    );
    const processCount = parseWholeNumber('processes', args.getText('processes') ?? '', 1, MAX_PROCESSES);
    // Loaded on demand, because help and completion don't need it.
    const { connectToPrimary } = await import('../gateway/processes/primary-link.js');
    const link = processCount > 1 ? connectToPrimary(clock) : undefined;
    if (processCount > 1 && !link) return runGatewayProcesses(processCount, delayMs + maxMs, args, io);
    const nodeOptions = [...process.execArgv, io.env['NODE_OPTIONS'] ?? ''];
    setOldGrowth(nodeOptions);
    const young = new YoungGeneration(nodeOptions);
    const { startHttpGateway } = await import('../compose-gateway.js');
    const calls = new CallLog(io.stderr, new LogLines(io, args), clock);
    const log = createLog(io, args);
    const gateway = await startHttpGateway({
      ...(await readGatewayOptions(args, io)),
      ...readLimits(args, processCount),
      // Its lines are about all processes.
      log: link?.isFirst === false ? NO_LOG : log,
      onGrpcLoad: async () => (await import('./grpc-log.js')).silenceGrpcLog(io),
      onFinish: (call) => {
        calls.add(call);
        young.recordCall();
      },
      onRefuse: createRefusalLog(log, clock),
      renderMetrics: link && (() => link.renderMetrics()),
    });
    if (link) link.reportListening(gateway.url, () => gateway.readMetrics());
    else printListening(gateway.url, args, io);
    const shutdown = waitForShutdown(io).then(() => io.interrupted.reason);
    const signal: NodeJS.Signals = await (link ? Promise.race([shutdown, link.stopped]) : shutdown);
    // After Ctrl-C, a person waits.
    await gateway.close({ delayMs: signal === 'SIGINT' ? 0 : delayMs, maxMs });
    calls.flush();
    return getShutdownExitCode(io.interrupted);
  },
};

async function readGatewayOptions(args: Arguments, io: CommandIo) {
  const { parsePassedHeader } = await import('../client/http-calls/forwarded-headers.js');
  const hedgeAfter = args.getText('hedge-after');
  const access = readServerAccess(args, io, WORKER_PREFIX);
  const callerKeys = readSecretFile(args, io, 'key-file', (text, where) => new CallerKeys(text.split('\n'), where));
  return {
    servers: args.getTexts('server'),
    access,
    host: args.getText('host') ?? '',
    port: parseWholeNumber('port', args.getText('port') ?? '', 0, 65535),
    tls: readServerTls(args, io),
    aliases: parseAliases(args.getTexts('alias')),
    selector: readSelector(args, 'where'),
    pick: parseChoice('pick', args.getText('pick') ?? '', PICKERS),
    hedgeAfterMs: hedgeAfter === undefined ? undefined : parseDurationMs('hedge-after', hedgeAfter, 1),
    findCaller:
      callerKeys &&
      ((authorization: readonly string[], connection: object) => callerKeys().find(authorization, connection)),
    upstreamKeys: readSecretFile(args, io, 'upstream-key-file', (text, where) =>
      parseUpstreamKeys(text.split('\n'), where),
    ),
    upstreamNetworks: args.getTexts('upstream-allow'),
    upstreamTls: access.tls,
    callToken: readClientToken(args, io, 'call-token-file'),
    callTls: args.hasFlag('call-tls') ? (access.tls ?? (() => ({}))) : undefined,
    allowedPaths: args.getTexts('allow-path').map(parsePath),
    passedHeaders: args.getTexts('pass-header').map((name) => parsePassedHeader(name)),
    allowedHosts: args.getTexts('allowed-host'),
    corsOrigin: args.getText('cors'),
  };
}

/** Reads the limits of one process. Those that are for all processes are divided. */
function readLimits(args: Arguments, processCount: number) {
  const maxBodyBytes = parseWholeNumber('max-body-bytes', args.getText('max-body-bytes') ?? '', 1024, 2 ** 31 - 1);
  const maxTotalBytes = parseWholeNumber('buffer-limit', args.getText('buffer-limit') ?? '', 1024 * 1024, 2 ** 40);
  const maxQueuedCalls = parseWholeNumber('queue', args.getText('queue') ?? '', 0, 1_000_000);
  const isShared = processCount > 1;
  return {
    maxBodyBytes,
    // A process that had no memory for one large body would refuse it forever.
    maxTotalBytes: isShared ? Math.max(maxBodyBytes, Math.ceil(maxTotalBytes / processCount)) : maxTotalBytes,
    maxQueuedCalls: Math.ceil(maxQueuedCalls / processCount),
    queueTimeoutMs: parseDurationMs('queue-timeout', args.getText('queue-timeout') ?? '', 0),
  };
}

function parsePath(text: string): string {
  if (/^\/[\w./-]+$/.test(text) && !text.includes('..')) return text;
  throw new AnyserveError('usage', `--allow-path: "${text}" is not a path; give the part after /v1, such as /messages`);
}
