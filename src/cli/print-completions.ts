import { escapeControls } from '../core/control-characters.js';
import { formatBashReplacement, parseBashLine } from './bash-line.js';
import type { Candidate, CommandIo } from './command.js';
import { findCompletions } from './completions.js';

/**
 * Prints how to complete and the values, a line each, in the form that the script of the shell reads. Never fails, and
 * writes nothing to stderr: it would appear in the prompt of somebody who is typing.
 */
export async function printCompletions(argv: readonly string[], io: CommandIo): Promise<number> {
  try {
    const [first, ...args] = argv;
    // As the scripts of yargs ask: all words, with the name of the program, and bare values as the answer.
    const lines = first === '__complete' ? await shellLines(args, io) : await plainLines(args.slice(1), io);
    io.stdout.write(lines.map((line) => `${line}\n`).join(''));
  } catch {
    // Nothing can be completed.
  }
  return 0;
}

async function plainLines(words: readonly string[], io: CommandIo): Promise<string[]> {
  return shown((await findCompletions(words, io)).candidates).map(({ value }) => value);
}

/** A word that sends output to a file, or takes input from one; the file can follow in the same word. */
const REDIRECTION = /^\d*(?:>>?|<)/;

async function shellLines([shell, ...args]: readonly string[], io: CommandIo): Promise<string[]> {
  switch (shell) {
    case 'bash': {
      const [text = '', wordBreaks = ''] = args;
      const line = parseBashLine(text, wordBreaks);
      // Other shells complete these by themselves.
      if (line.words.slice(-2).some((word) => REDIRECTION.test(word))) return ['files'];
      const { how, candidates } = await findCompletions(line.words.slice(1), io);
      return [how, ...shown(candidates).flatMap(({ value }) => formatBashReplacement(value, line) ?? [])];
    }
    case 'zsh': {
      const { how, candidates } = await findCompletions(args, io);
      const escaped = (value: string): string => value.replace(/[\\:]/g, '\\$&');
      return [how, ...shown(candidates).map(({ value, description }) => `${escaped(value)}:${description}`)];
    }
    case 'fish': {
      // Its current word comes as it was typed.
      const current = (args.at(-1) ?? '').replace(/^["']/, '').replace(/\\(.)/g, '$1');
      const { how, candidates } = await findCompletions([...args.slice(0, -1), current], io);
      return [how, ...shown(candidates).map(({ value, description }) => `${value}\t${description}`)];
    }
    default:
      return [];
  }
}

/** Candidates that fit a line each: none with control characters, which come from outside and could act on the terminal. */
function shown(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates
    .filter(({ value }) => escapeControls(value) === value)
    .map(({ value, description }) => ({ value, description: escapeControls(description) }));
}
