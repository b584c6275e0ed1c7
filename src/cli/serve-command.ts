import { parseAdvertisedUrl } from '../api/lease-owner.js';
import { DEFAULTS } from '../core/defaults.js';
import { parseStoreLogin } from '../core/store-login.js';
import { parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import { type Command, waitForShutdown } from './command.js';
import { createLog, LOG_OPTIONS } from './log-lines.js';
import { createClientTlsOptions, readClientTls, readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readPeerTokens, readRequiredTokens, readSecretFile } from './token-options.js';

/** Maximum value of an option that limits a count. */
const MAX_COUNT_LIMIT = 10_000_000;

/** `anyserve serve`: runs the API server. */
export const serveCommand: Command = {
  name: 'serve',
  usage: '[--port PORT] [--host HOST]',
  summary:
    'Runs an API server. Replicas register with it, and callers ask it for replicas. Calls go directly to the replicas. A browser shows a dashboard at its address.',
  examples: [
    ['anyserve serve', 'listen on 127.0.0.1:8080, for this machine only'],
    ['anyserve serve --host 0.0.0.0 --port 80', 'listen on all addresses'],
    ['anyserve serve --host 0.0.0.0 --register-token-file tokens', 'require a token for registration'],
    ['anyserve serve --store etcd://10.0.0.5:2379', 'share the registrations of other API servers through etcd'],
    ['anyserve serve --port 0', 'listen on a free port and print it'],
  ],
  options: {
    port: {
      type: 'text',
      value: 'PORT',
      description: 'TCP port; 0 picks a free one',
      default: String(DEFAULTS.apiPort),
    },
    host: { type: 'text', value: 'HOST', description: 'address to listen on', default: DEFAULTS.host },
    'allowed-host': {
      type: 'text',
      value: 'NAME',
      description:
        'Host header to accept in requests without a token to a loopback address, and in requests of web pages; always ' +
        'accepted: localhost, *.localhost, *.local, *.internal and the name of this machine',
      repeatable: true,
      spaced: true,
    },
    heartbeat: {
      type: 'text',
      value: 'TIME',
      description: 'interval between heartbeats of a lease',
      default: `${DEFAULTS.heartbeatMs / 1000}s`,
    },
    ...createTokenFileOption(
      'register-token-file',
      'file with tokens for registration and queries, one per line; "TOKEN PREFIX" limits a token to ids with ' +
        'this prefix, and "TOKEN prefix=PREFIX KEY=VALUE" also to capabilities with this pair, for teams',
    ),
    ...createTokenFileOption('read-token-file', 'file with tokens for queries, one per line'),
    'metrics-keys': {
      type: 'text',
      value: 'KEY[,KEY]',
      description:
        'capability keys whose values are labels of anyserve_offers in GET /metrics, such as model; when not given, none',
      mayBeEmpty: true,
    },
    ...LOG_OPTIONS,
    ...SERVER_TLS_OPTIONS,
    store: {
      type: 'text',
      value: 'STORE',
      description:
        'where registrations are kept: memory, or etcd://HOST:PORT[,HOST:PORT][/PREFIX] (etcds:// with TLS), which several ' +
        'API servers share',
      default: 'memory',
    },
    ...createClientTlsOptions('for etcds://', 'store-'),
    'store-login-file': { type: 'text', value: 'FILE', description: 'file with USER:PASSWORD for etcd' },
    advertise: {
      type: 'text',
      value: 'URL',
      description:
        'URL at which registrants and the other API servers of a shared registry reach this server; when not given, the ' +
        'address to which each registrant has connected',
      check: (value) => parseAdvertisedUrl(value, false),
    },
    ...createTokenFileOption(
      'peer-token-file',
      'file with tokens, the same for all API servers of a shared registry; they send the first one with requests that they ' +
        'forward to each other',
    ),
    ...createClientTlsOptions('for the other API servers, in place of those of --tls-ca and --tls-cert', 'peer-'),
    'ack-timeout': {
      type: 'text',
      value: 'TIME',
      description:
        'minimum time without acknowledged data until a host counts as dead; several retransmissions must also fail',
      default: `${DEFAULTS.ackTimeoutMs / 1000}s`,
    },
    drain: {
      type: 'text',
      value: 'TIME',
      description: 'time over which replicas are disconnected at shutdown; 0: all at once',
      default: `${DEFAULTS.drainMs / 1000}s`,
    },
    warming: {
      type: 'text',
      value: 'TIME',
      description:
        'time after the start during which "no match" counts as temporary, because replicas are still registering again',
      default: `${DEFAULTS.warmingMs / 1000}s`,
    },
    'max-replicas': {
      type: 'text',
      value: 'N',
      description: 'maximum number of replicas',
      default: String(DEFAULTS.maxReplicas),
    },
    'max-registry-bytes': {
      type: 'text',
      value: 'N',
      description: 'maximum total size of all registrations, in bytes; a quarter of it for each address',
      default: String(DEFAULTS.maxRegistryBytes),
    },
    'max-streams-per-peer': {
      type: 'text',
      value: 'N',
      description:
        'maximum number of leases for each address; also of its /watch streams (never over 5000) and of its followed ' +
        '/events streams (never over 500)',
      default: String(DEFAULTS.maxStreamsPerPeer),
    },
  },
  maxWords: 0,
  async run(args, io) {
    const drainMs = parseDurationMs('drain', args.getText('drain') ?? '');
    // Loaded on demand, because help and completion don't need it.
    const { startApiServer } = await import('../compose.js');
    const server = await startApiServer({
      host: args.getText('host'),
      port: parseWholeNumber('port', args.getText('port') ?? '', 0, 65535),
      // At least 1 ms, because the server would only send heartbeats otherwise.
      heartbeatMs: parseDurationMs('heartbeat', args.getText('heartbeat') ?? '', 1),
      registerTokens: readRequiredTokens(args, io, 'register-token-file'),
      readTokens: readRequiredTokens(args, io, 'read-token-file'),
      tls: readServerTls(args, io),
      store: args.getText('store'),
      storeTls: readClientTls(args, io, 'store-'),
      storeLogin: readSecretFile(args, io, 'store-login-file', parseStoreLogin),
      advertise: args.getText('advertise'),
      ...readPeerTokens(args, io),
      peerTls: readClientTls(args, io, 'peer-'),
      ackTimeoutMs: parseDurationMs('ack-timeout', args.getText('ack-timeout') ?? ''),
      warmingMs: parseDurationMs('warming', args.getText('warming') ?? ''),
      maxReplicas: parseWholeNumber('max-replicas', args.getText('max-replicas') ?? '', 1, MAX_COUNT_LIMIT),
      maxRegistryBytes: parseWholeNumber('max-registry-bytes', args.getText('max-registry-bytes') ?? '', 1024, 2 ** 40),
      maxStreamsPerPeer: parseWholeNumber(
        'max-streams-per-peer',
        args.getText('max-streams-per-peer') ?? '',
        1,
        MAX_COUNT_LIMIT,
      ),
      allowedHosts: args.getTexts('allowed-host'),
      metricsKeys: (args.getText('metrics-keys') ?? '').split(',').filter((key) => key !== ''),
      log: createLog(io, args),
    });
    io.stdout.write(
      args.hasFlag('json') ? `${JSON.stringify({ listening: server.url })}\n` : `listening on ${server.url}\n`,
    );
    const exitCode = await waitForShutdown(io);
    await server.close({ drainMs, signal: io.forceQuit });
    return exitCode;
  },
};
