import { escapeControls } from '../core/control-characters.js';
import { formatBashReplacement, parseBashLine } from './bash-line.js';
import type { Candidate, CommandIo } from './command.js';
import { findCompletions } from './completions.js';

/**
 * Prints the completions in the format that the shell's script reads. Never fails, and writes nothing to stderr, because
 * that would appear in the user's prompt.
 */
export async function printCompletions(argv: readonly string[], io: CommandIo): Promise<number> {
  try {
    const [first, ...args] = argv;
    // Completion scripts of yargs pass all words, including the program name, and expect values only.
    const lines = first === '__complete' ? await completeForShell(args, io) : await completeForYargs(args.slice(1), io);
    io.stdout.write(lines.map((line) => `${line}\n`).join(''));
  } catch {
    // Print no completions.
  }
  return 0;
}

async function completeForYargs(words: readonly string[], io: CommandIo): Promise<string[]> {
  return removeUnsafe((await findCompletions(words, io)).candidates).map(({ value }) => value);
}

/** Redirection to or from a file. The file name can follow in the same word. */
const REDIRECTION = /^\d*(?:>>?|<)/;

/** Returns the kind of completion, then one line per value. */
async function completeForShell([shell, ...args]: readonly string[], io: CommandIo): Promise<string[]> {
  switch (shell) {
    case 'bash': {
      const [text = '', wordBreaks = ''] = args;
      const line = parseBashLine(text, wordBreaks);
      // Other shells complete redirections themselves.
      if (line.words.slice(-2).some((word) => REDIRECTION.test(word))) return ['files'];
      const { how, candidates } = await findCompletions(line.words.slice(1), io);
      return [how, ...removeUnsafe(candidates).flatMap(({ value }) => formatBashReplacement(value, line) ?? [])];
    }
    case 'zsh': {
      const { how, candidates } = await findCompletions(args, io);
      const escapeForZsh = (value: string): string => value.replace(/[\\:]/g, '\\$&');
      return [
        how,
        ...removeUnsafe(candidates).map(({ value, description }) => `${escapeForZsh(value)}:${description}`),
      ];
    }
    case 'fish': {
      // fish passes the current word with its quotes and escapes.
      const current = (args.at(-1) ?? '').replace(/^["']/, '').replace(/\\(.)/g, '$1');
      const { how, candidates } = await findCompletions([...args.slice(0, -1), current], io);
      return [how, ...removeUnsafe(candidates).map(({ value, description }) => `${value}\t${description}`)];
    }
    default:
      return [];
  }
}

/** Removes candidates with control characters. They are untrusted and could break the line format or act on the terminal. */
function removeUnsafe(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates
    .filter(({ value }) => escapeControls(value) === value)
    .map(({ value, description }) => ({ value, description: escapeControls(description) }));
}
