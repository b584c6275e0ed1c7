import { shortTokenWarning } from '../credentials/token-file.js';
import { TokenSet } from '../credentials/token-set.js';
import type { Arguments, CommandIo } from './command.js';
import { logTo } from './output.js';
import { tokenSource } from './token-options.js';

/** The tokens that callers must show, as they are now; undefined: none. Short ones are logged once. Throws `usage`. */
export function tokensAskedFor(args: Arguments, io: CommandIo, option: string): (() => TokenSet) | undefined {
  let isWarned = false;
  return tokenSource(args, io, option, (text, where) => {
    const lines = text.split('\n');
    const tokens = new TokenSet(lines, where);
    const warning = shortTokenWarning(lines, where);
    if (warning !== undefined && !isWarned) {
      isWarned = true;
      logTo(io).warn(warning);
    }
    return tokens;
  });
}
