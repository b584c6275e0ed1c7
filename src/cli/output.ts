import { Chalk, type ChalkInstance } from 'chalk';
import { escapeControls, escapeControlsInLines, escapeControlsInProse } from '../core/control-characters.js';
import type { AnyserveError } from '../core/errors.js';
import type { CommandIo } from './command.js';

/** Creates the colours for a stream: none unless it is a terminal, and none when NO_COLOR is set. Source: no-color.org. */
export function createColors(stream: { readonly isTTY?: boolean }, env: CommandIo['env']): ChalkInstance {
  return new Chalk({ level: stream.isTTY && !env['NO_COLOR'] && env['TERM'] !== 'dumb' ? 1 : 0 });
}

/**
 * Escapes untrusted text for a stream. For a terminal, escapes sequences that move the cursor or change colours, and keeps
 * line breaks. For a pipe or file, returns the text unchanged.
 */
export function escapeForStream(stream: { readonly isTTY?: boolean }, text: string): string {
  return stream.isTTY ? escapeControlsInProse(text) : text;
}

/**
 * Reports a failure in one line on stderr, with `json` as an object. stdout carries only results, so that a program never
 * mistakes an error for one. When the exit code isn't 0, a program reads the last line of stderr.
 */
export function reportFailure(
  { code, message }: AnyserveError,
  { stderr, env }: Pick<CommandIo, 'stderr' | 'env'>,
  { json = false, stack }: { readonly json?: boolean; readonly stack?: string | undefined } = {},
): void {
  if (json) return void stderr.write(`${escapeControls(JSON.stringify({ error: { code, message, stack } }))}\n`);
  stderr.write(`${createColors(stderr, env).red('anyserve:')} ${escapeControls(message)}\n`);
  if (stack !== undefined) stderr.write(`${escapeControlsInLines(stack)}\n`);
}

/** Prints a change of state, as a sentence or as a record. */
export type ChangePrinter = (isGood: boolean, sentence: string, record: ChangeRecord) => void;

/** A change of state for programs: the new state, and its details. */
export type ChangeRecord = { readonly state: string } & Readonly<Record<string, unknown>>;

/**
 * Creates a printer of state changes to stdout: with `json`, one object per line; else a line of text whose first word is
 * green for a good state and yellow for a bad one.
 */
export function createChangePrinter(json: boolean, { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>): ChangePrinter {
  const colours = createColors(stdout, env);
  return (isGood, sentence, record) => {
    const line = escapeControls(json ? JSON.stringify(record) : sentence);
    const [, state = '', rest = ''] = /^([^ ]+)(.*)$/s.exec(line) ?? [];
    const colour = isGood ? colours.green : colours.yellow;
    stdout.write(json ? `${line}\n` : `${colour(state)}${rest}\n`);
  };
}
