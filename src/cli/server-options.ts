import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { parseServerUrl } from '../client/server-list.js';
import { DEFAULTS } from '../core/defaults.js';
import { isLoopback } from '../core/host.js';
import { MAX_WEIGHT } from '../core/replica.js';
import { clock } from '../system.js';
import { parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './log-lines.js';
import { createClientTlsOptions, readClientTls } from './tls-options.js';
import { readServerTokens, SERVER_TOKEN_OPTION } from './token-options.js';

/** Options for the API servers and the token. */
const SERVER_AND_TOKEN_OPTIONS: Readonly<Record<string, CommandOption>> = {
  server: {
    type: 'text',
    value: 'URL',
    description: 'API server; repeat for several: replicas register with each, and callers ask one after the other',
    default: DEFAULTS.apiServer,
    repeatable: true,
    spaced: true,
    check: parseServerUrl,
  },
  ...SERVER_TOKEN_OPTION,
};

/** Options of the commands that use an API server. */
export const SERVER_OPTIONS = { ...SERVER_AND_TOKEN_OPTIONS, ...createClientTlsOptions('for https API servers') };

/** Prefix of a worker's TLS options as a client of the API server. Those without the prefix are for its gRPC server. */
export const WORKER_PREFIX = 'server-';

/** Options of the commands that register a replica. */
export const REGISTRATION_OPTIONS: Readonly<Record<string, CommandOption>> = {
  weight: {
    type: 'text',
    value: 'N',
    description: `share of the calls, from 1 to ${MAX_WEIGHT}: a replica with twice the weight gets twice the calls`,
    default: '1',
  },
};

/** Reads the weight of the replica. Throws `usage`. */
export function readWeight(args: Arguments): number {
  return parseWholeNumber('weight', args.getText('weight') ?? '', 1, MAX_WEIGHT);
}

/** {@link SERVER_OPTIONS} for a worker. */
export const WORKER_SERVER_OPTIONS = {
  ...SERVER_AND_TOKEN_OPTIONS,
  ...createClientTlsOptions('for https API servers', WORKER_PREFIX),
};

/** Creates a client of the API servers that the options name. Throws `usage`. */
export function createApiClient(args: Arguments, io: CommandIo, prefix = ''): ApiClient {
  return new ApiClient({ ...readServerAccess(args, io, prefix), servers: args.getTexts('server'), clock });
}

/** Reads the token and TLS options for the API servers. Throws `usage`. */
export function readServerAccess(args: Arguments, io: CommandIo, prefix = ''): ServerAccess {
  const token = readServerTokens(args, io);
  const exposedServer = args
    .getTexts('server')
    .find((server) => isPlaintextRemote(server) && token?.(parseServerUrl(server)));
  if (exposedServer !== undefined) {
    createLog(io, args).warn(`the token is sent to ${exposedServer} in plaintext, readable on the network; use https`, {
      event: 'token_in_plaintext',
      server: exposedServer,
    });
  }
  const tls = readClientTls(args, io, prefix);
  const isSecure = args.getTexts('server').some((server) => server.startsWith('https:'));
  if (isSecure && tls?.().ca === undefined && io.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    const remedy = `give --${prefix}tls-ca FILE, or unset the variable`;
    createLog(io, args).warn(`NODE_TLS_REJECT_UNAUTHORIZED=0: the API server's certificate is not checked; ${remedy}`, {
      event: 'certificate_not_checked',
    });
  }
  return { token, tls };
}

/** Returns whether requests to a server leave this machine in plaintext. */
function isPlaintextRemote(server: string): boolean {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  return url?.protocol === 'http:' && !isLoopback(url.hostname);
}
