import { DEFAULTS } from '../core/defaults.js';
import { parseDurationMs, parseWholeNumber } from './argument-parsers.js';
import type { Command } from './command.js';
import { createLog } from './output.js';
import { waitForShutdown } from './shutdown-signals.js';
import { readServerTls, SERVER_TLS_OPTIONS } from './tls-options.js';
import { createTokenFileOption, readRequiredTokens } from './token-options.js';

/** No limit that is meant is over it. */
const MOST = 10_000_000;

/** `anyserve serve`: the API server. */
export const serveCommand: Command = {
  name: 'serve',
  usage: '[--port PORT] [--host HOST]',
  summary: 'Runs an API server. Replicas register with it, callers ask it for one; their calls never pass through it.',
  examples: [
    ['anyserve serve', 'listen on 127.0.0.1:8080, for this machine alone'],
    ['anyserve serve --host 0.0.0.0 --port 80', 'listen for other machines, too'],
    ['anyserve serve --host 0.0.0.0 --register-token-file tokens', 'only those that show a token may register'],
    ['anyserve serve --port 0', 'listen on a free port, and print it'],
  ],
  options: {
    port: {
      type: 'text',
      value: 'PORT',
      description: 'the TCP port; 0 picks a free one',
      default: String(DEFAULTS.apiPort),
    },
    host: { type: 'text', value: 'HOST', description: 'the address to listen on', default: DEFAULTS.host },
    'allowed-host': {
      type: 'text',
      value: 'NAME',
      description:
        'a name by which requests without a token can reach a loopback address, and web pages any address, besides ' +
        'localhost, *.localhost, *.local, *.internal and the name of this machine',
      repeatable: true,
      spaced: true,
    },
    heartbeat: {
      type: 'text',
      value: 'TIME',
      description: 'the time between two heartbeats of a lease',
      default: `${DEFAULTS.heartbeatMs}ms`,
    },
    'register-token-file': createTokenFileOption(
      'tokens that may register and ask, one a line, each with a space and a prefix if it is for such ids only',
      'ANYSERVE_REGISTER_TOKEN',
    ),
    'read-token-file': createTokenFileOption('tokens that may ask, one a line', 'ANYSERVE_READ_TOKEN'),
    ...SERVER_TLS_OPTIONS,
    'ack-limit': {
      type: 'text',
      value: 'TIME',
      description: 'how long a host may acknowledge nothing of what is sent to it',
      default: `${DEFAULTS.ackLimitMs}ms`,
    },
    drain: {
      type: 'text',
      value: 'TIME',
      description: 'over how long replicas are sent away at the end; 0 for all at once',
      default: `${DEFAULTS.drainMs}ms`,
    },
    warming: {
      type: 'text',
      value: 'TIME',
      description: 'how long after the start a miss may be one of a replica that is on its way back',
      default: `${DEFAULTS.warmingMs}ms`,
    },
    'max-replicas': {
      type: 'text',
      value: 'N',
      description: 'the most replicas in the list',
      default: String(DEFAULTS.maxReplicas),
    },
    'max-registry-bytes': {
      type: 'text',
      value: 'N',
      description: 'maximum size of all registrations together, in bytes; one address can hold a quarter of it',
      default: String(DEFAULTS.maxRegistryBytes),
    },
    'max-streams-per-peer': {
      type: 'text',
      value: 'N',
      description: 'the most leases that one address holds',
      default: String(DEFAULTS.maxStreamsPerPeer),
    },
  },
  maxWords: 0,
  async run(args, io) {
    const drainMs = parseDurationMs('drain', args.text('drain') ?? '');
    // Loaded here, because the help and completion need nothing of it.
    const { startApiServer } = await import('../compose.js');
    const server = await startApiServer({
      host: args.text('host'),
      port: parseWholeNumber('port', args.text('port') ?? '', 0, 65535),
      // Without any time between them, heartbeats would be all that the server does.
      heartbeatMs: parseDurationMs('heartbeat', args.text('heartbeat') ?? '', 1),
      registerTokens: readRequiredTokens(args, io, 'register-token-file'),
      readTokens: readRequiredTokens(args, io, 'read-token-file'),
      tls: readServerTls(args, io),
      ackLimitMs: parseDurationMs('ack-limit', args.text('ack-limit') ?? ''),
      warmingMs: parseDurationMs('warming', args.text('warming') ?? ''),
      maxReplicas: parseWholeNumber('max-replicas', args.text('max-replicas') ?? '', 1, MOST),
      maxRegistryBytes: parseWholeNumber('max-registry-bytes', args.text('max-registry-bytes') ?? '', 1024, 2 ** 40),
      maxStreamsPerPeer: parseWholeNumber('max-streams-per-peer', args.text('max-streams-per-peer') ?? '', 1, MOST),
      allowedHosts: args.texts('allowed-host'),
      log: createLog(io),
    });
    io.stdout.write(
      args.flag('json') ? `${JSON.stringify({ listening: server.url })}\n` : `listening on ${server.url}\n`,
    );
    const exitCode = await waitForShutdown(io);
    await server.close({ drainMs, signal: io.forceQuit });
    return exitCode;
  },
};
