import { ApiClient } from '../client/api-client.js';
import type { ServerAccess } from '../client/api-servers.js';
import { DEFAULTS } from '../core/defaults.js';
import { isLoopback } from '../core/loopback.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './output.js';
import { createClientTlsOptions, readClientTls } from './tls-options.js';
import { createTokenFileOption, readClientToken } from './token-options.js';

/** Which API server is asked, and with which token. */
const WHICH: Readonly<Record<string, CommandOption>> = {
  server: {
    type: 'text',
    value: 'URL',
    description: 'an API server; repeat it for others to turn to when it fails',
    default: DEFAULTS.apiServer,
    repeatable: true,
    spaced: true,
  },
  'token-file': createTokenFileOption('a token to show the API server', 'ANYSERVE_TOKEN'),
};

/** The options of the commands that ask an API server: which, and how. */
export const SERVER_OPTIONS = { ...WHICH, ...createClientTlsOptions('behind https') };

/** What stands before the names of a worker's TLS options as a caller; those without it are for what it serves. */
export const WORKER_PREFIX = 'server-';

/** The same options for a worker. */
export const WORKER_SERVER_OPTIONS = { ...WHICH, ...createClientTlsOptions('behind https', WORKER_PREFIX) };

/** The API servers that the options name, asked as they say. Throws `usage`. */
export function createApiClient(args: Arguments, io: CommandIo, prefix = ''): ApiClient {
  return new ApiClient(args.texts('server'), readServerAccess(args, io, prefix));
}

/** How the API servers are to be asked. Throws `usage`. */
export function readServerAccess(args: Arguments, io: CommandIo, prefix = ''): ServerAccess {
  const token = readClientToken(args, io, 'token-file');
  const open = args.texts('server').find(isOpenToOthers);
  if (token && open !== undefined) {
    createLog(io).warn(`the token goes to ${open} in plain text, which others on the way can read; use https`);
  }
  const tls = readClientTls(args, io, prefix);
  const isSecure = args.texts('server').some((server) => server.startsWith('https:'));
  if (isSecure && tls?.().ca === undefined && io.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    const remedy = `give --${prefix}tls-ca FILE, or unset it`;
    createLog(io).warn(`NODE_TLS_REJECT_UNAUTHORIZED=0: the API server's certificate is not checked; ${remedy}`);
  }
  return { token, tls };
}

/** Whether what is sent to a server passes others on its way, who can read it. */
function isOpenToOthers(server: string): boolean {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  return url?.protocol === 'http:' && !isLoopback(url.hostname);
}
