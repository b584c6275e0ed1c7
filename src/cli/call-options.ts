import type { ClientOptions } from '../client/client-options.js';
import { AnyserveError } from '../core/errors.js';
import type { ClientTls } from '../core/tls.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createTokenFileOption, readClientToken } from './token-options.js';

/** Options of TLS for calls of replicas. */
export const CALL_TLS_OPTIONS: Readonly<Record<string, CommandOption>> = {
  tls: { type: 'flag', description: 'call the replica over TLS; implied by --tls-ca and --tls-cert' },
  'no-call-tls': {
    type: 'flag',
    description: 'call the replica in plaintext, even with --tls-ca or --tls-cert for the API server',
  },
};

/** Options of the commands that call replicas: authentication and TLS. */
export const CALL_OPTIONS: Readonly<Record<string, CommandOption>> = {
  ...createTokenFileOption('call-token-file', 'file with the token to send to the replica'),
  ...CALL_TLS_OPTIONS,
};

/** Reads how to call replicas. `tls` holds the certificates of the client. Throws `usage`. */
export function readCallAccess(
  args: Arguments,
  io: CommandIo,
  tls: ClientOptions['tls'],
): Pick<ClientOptions, 'callToken' | 'tls' | 'callTls'> {
  return { callToken: readClientToken(args, io, 'call-token-file'), tls, callTls: usesCallTls(args, tls) };
}

/** Reads the TLS settings for calls. Undefined: plaintext. Throws `usage`. */
export function readCallTls(args: Arguments, tls: (() => ClientTls) | undefined): (() => ClientTls) | undefined {
  return usesCallTls(args, tls) ? (tls ?? (() => ({}))) : undefined;
}

function usesCallTls(args: Arguments, tls: ClientOptions['tls']): boolean {
  if (args.hasFlag('tls') && args.hasFlag('no-call-tls')) {
    throw new AnyserveError('usage', 'give --tls or --no-call-tls, not both');
  }
  return args.hasFlag('tls') || (tls !== undefined && !args.hasFlag('no-call-tls'));
}
