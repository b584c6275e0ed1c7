import { TokenSet } from '../credentials/token-set.js';
import type { Arguments, CommandIo } from './command.js';
import { tokenSource } from './token-options.js';

/** The tokens that callers must show, as they are now; undefined: none. Throws `usage`. */
export function tokensAskedFor(args: Arguments, io: CommandIo, option: string): (() => TokenSet) | undefined {
  return tokenSource(args, io, option, (text, where) => new TokenSet(text.split('\n'), where));
}
