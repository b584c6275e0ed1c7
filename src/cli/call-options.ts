import type { Arguments, CommandIo, CommandOption } from './command.js';
import { tokenFileOption, tokenToShow } from './token-options.js';

/** The options of the commands that call replicas: how. */
export const CALL_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'call-token-file': tokenFileOption('a token to show the replica', 'ANYSERVE_CALL_TOKEN'),
};

/** How replicas are to be called. Throws `usage`. */
export function callAccessFrom(args: Arguments, io: CommandIo): { readonly callToken: (() => string) | undefined } {
  return { callToken: tokenToShow(args, io, 'call-token-file') };
}
