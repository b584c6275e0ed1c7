import { Chalk, type ChalkInstance } from 'chalk';
import { escapeControls, escapeControlsInLines, escapeControlsInProse } from '../core/control-characters.js';
import type { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { formatTimeOfDay } from '../system.js';
import type { CommandIo } from './command.js';

/** Colours for a stream: none unless it is a terminal, and none when NO_COLOR is set. Source: no-color.org. */
export function createColors(stream: { readonly isTTY?: boolean }, env: CommandIo['env']): ChalkInstance {
  return new Chalk({ level: stream.isTTY && !env['NO_COLOR'] && env['TERM'] !== 'dumb' ? 1 : 0 });
}

/**
 * A text from outside for a stream: a terminal gets what would move the cursor or change colours escaped, its lines kept;
 * anything else gets the text as it is.
 */
export function escapeForStream(stream: { readonly isTTY?: boolean }, text: string): string {
  return stream.isTTY ? escapeControlsInProse(text) : text;
}

/**
 * Reports a failure in one line on stderr: for people, or with `--json` as an object. stdout carries results alone, so that
 * a program never takes an error for one; its exit code tells it to read the last line of stderr.
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

/** A log for people: a line each to stderr, led by the time of day. */
export function createLog({ stderr, env }: CommandIo): Log {
  const colours = createColors(stderr, env);
  const write = (line: string): void => void stderr.write(`${colours.dim(formatTimeOfDay())} ${line}\n`);
  return {
    info: (message) => write(escapeControls(message)),
    warn: (message) => write(colours.yellow(escapeControls(message))),
  };
}

/**
 * Tells changes on standard output: a line for people whose first word is green when things are well and else yellow, or
 * a JSON object a line.
 */
export function createChangePrinter(
  json: boolean,
  { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>,
): (isWell: boolean, sentence: string, record: Readonly<Record<string, unknown>>) => void {
  const colours = createColors(stdout, env);
  return (isWell, sentence, record) => {
    const line = escapeControls(json ? JSON.stringify(record) : sentence);
    const [, state = '', rest = ''] = /^([^ ]+)(.*)$/s.exec(line) ?? [];
    const colour = isWell ? colours.green : colours.yellow;
    stdout.write(json ? `${line}\n` : `${colour(state)}${rest}\n`);
  };
}

/** A span of time as people read it: `0.4 s`. */
export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
