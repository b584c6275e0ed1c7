import type { ClientOptions } from '../client/client-options.js';
import { AnyserveError } from '../core/errors.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createTokenFileOption, readClientToken } from './token-options.js';

/** The options of the commands that call replicas: how. */
export const CALL_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'call-token-file': createTokenFileOption('a token to show the replica', 'ANYSERVE_CALL_TOKEN'),
  tls: { type: 'flag', description: 'call the replica over TLS; so are they with --tls-ca or --tls-cert' },
  'no-call-tls': {
    type: 'flag',
    description: 'call it in plain text, though the API server needs --tls-ca or --tls-cert',
  },
};

/** How replicas are to be called, given what TLS goes by. Throws `usage`. */
export function readCallAccess(
  args: Arguments,
  io: CommandIo,
  tls: ClientOptions['tls'],
): Pick<ClientOptions, 'callToken' | 'tls' | 'callTls'> {
  if (args.flag('tls') && args.flag('no-call-tls')) {
    throw new AnyserveError('usage', 'give --tls or --no-call-tls, not both');
  }
  const callTls = args.flag('tls') || (tls !== undefined && !args.flag('no-call-tls'));
  return { callToken: readClientToken(args, io, 'call-token-file'), tls, callTls };
}
