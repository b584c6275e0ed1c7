import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import { CallerKeys } from '../credentials/caller-keys.js';
import { parseUpstreamKeys } from '../credentials/upstream-keys.js';
import { clock } from '../system.js';
import { parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { CallLog } from './call-log.js';
import { type Arguments, type Command, waitForShutdown } from './command.js';
import { silenceGrpcLog } from './grpc-log.js';
import { createLog } from './output.js';
import { readSelector, WHERE_OPTION } from './selector-options.js';
import { readServerAccess, WORKER_PREFIX, WORKER_SERVER_OPTIONS } from './server-options.js';
import { readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readClientToken, readSecretFile } from './token-options.js';
import { limitYoungGeneration } from './young-generation.js';

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
    alias: {
      type: 'text',
      value: 'NAME=MODEL',
      description: 'another name for a model; repeat it for one name to give substitutes, which are tried in turn',
      repeatable: true,
      spaced: true,
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
      description: 'forward this path after /v1 too, such as /tokenize',
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
    drain: {
      type: 'text',
      value: 'TIME',
      description: 'time for calls to finish at shutdown',
      default: `${DEFAULTS.drainTimeoutMs / 1000}s`,
    },
    ...SERVER_TLS_OPTIONS,
    ...WORKER_SERVER_OPTIONS,
  },
  maxWords: 0,
  async run(args, io) {
    const drainMs = parseDurationMs('drain', args.getText('drain') ?? '', 0);
    const hedgeAfter = args.getText('hedge-after');
    silenceGrpcLog(io);
    const access = readServerAccess(args, io, WORKER_PREFIX);
    const callerKeys = readSecretFile(args, io, 'key-file', (text, where) => new CallerKeys(text.split('\n'), where));
    limitYoungGeneration([...process.execArgv, io.env['NODE_OPTIONS'] ?? '']);
    // Loaded on demand, because help and completion don't need it.
    const { startHttpGateway } = await import('../compose-gateway.js');
    const { parseAliases } = await import('../gateway/aliases.js');
    const { parsePassedHeader } = await import('../client/http-calls/forwarded-headers.js');
    const log = new CallLog(io, clock, args.hasFlag('json'));
    const gateway = await startHttpGateway({
      servers: args.getTexts('server'),
      access,
      host: args.getText('host') ?? '',
      onWarning: (message) => createLog(io).warn(message),
      port: parseWholeNumber('port', args.getText('port') ?? '', 0, 65535),
      tls: readServerTls(args, io),
      aliases: parseAliases(args.getTexts('alias')),
      selector: readSelector(args, 'where'),
      pick: readPicker(args),
      hedgeAfterMs: hedgeAfter === undefined ? undefined : parseDurationMs('hedge-after', hedgeAfter, 1),
      findCaller: callerKeys && ((authorization) => callerKeys().find(authorization)),
      upstreamKeys: readSecretFile(args, io, 'upstream-key-file', (text, where) =>
        parseUpstreamKeys(text.split('\n'), where),
      ),
      upstreamNetworks: args.getTexts('upstream-allow'),
      upstreamTls: access.tls,
      callToken: readClientToken(args, io, 'call-token-file'),
      callTls: args.hasFlag('call-tls') ? (access.tls ?? (() => ({}))) : undefined,
      allowedPaths: args.getTexts('allow-path').map(parsePath),
      passedHeaders: args.getTexts('pass-header').map(parsePassedHeader),
      allowedHosts: args.getTexts('allowed-host'),
      corsOrigin: args.getText('cors'),
      maxBodyBytes: parseWholeNumber('max-body-bytes', args.getText('max-body-bytes') ?? '', 1024, 2 ** 31 - 1),
      maxTotalBytes: parseWholeNumber('buffer-limit', args.getText('buffer-limit') ?? '', 1024 * 1024, 2 ** 40),
      maxQueuedCalls: parseWholeNumber('queue', args.getText('queue') ?? '', 0, 1_000_000),
      queueTimeoutMs: parseDurationMs('queue-timeout', args.getText('queue-timeout') ?? '', 0),
      onFinish: (call) => log.add(call),
    });
    const { url } = gateway;
    io.stdout.write(args.hasFlag('json') ? `${JSON.stringify({ listening: url })}\n` : `listening on ${url}/v1\n`);
    const exitCode = await waitForShutdown(io);
    await gateway.close(drainMs);
    log.flush();
    return exitCode;
  },
};

function readPicker(args: Arguments): (typeof PICKERS)[number] {
  const text = args.getText('pick') ?? '';
  const picker = PICKERS.find((name) => name === text);
  if (picker) return picker;
  throw new AnyserveError('usage', `--pick: "${text}" is not a policy; give one of ${PICKERS.join(', ')}`);
}

function parsePath(text: string): string {
  if (/^\/[\w./-]+$/.test(text) && !text.includes('..')) return text;
  throw new AnyserveError('usage', `--allow-path: "${text}" is not a path; give the part after /v1, such as /tokenize`);
}
