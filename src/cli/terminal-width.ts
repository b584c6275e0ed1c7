import stringWidth from 'string-width';
import type { CommandIo } from './command.js';

/** A stream that can be a terminal. */
type OutputStream = Pick<CommandIo['stdout'], 'isTTY' | 'columns'>;

/** Width of a terminal that doesn't report its width. */
const DEFAULT_COLUMNS = 80;

/** Maximum width of the help. Longer lines are hard to read. */
const MAX_HELP_COLUMNS = 100;

/** Minimum width of the help. Below this, an option and its description don't fit side by side. */
const MIN_HELP_COLUMNS = 40;

/**
 * Returns the number of columns of a terminal. Returns undefined for a pipe or file, where nothing is truncated. `COLUMNS`
 * can only reduce the number, because shells don't update an exported `COLUMNS` when a terminal is resized.
 */
export function getTerminalColumns({ isTTY, columns }: OutputStream, env: CommandIo['env']): number | undefined {
  if (!isTTY) return undefined;
  const known = [columns, parseColumns(env)].filter((count) => count !== undefined && count > 0) as number[];
  return known.length > 0 ? Math.min(...known) : DEFAULT_COLUMNS;
}

/** Returns the number of columns of the help, which is also wrapped in a pipe. */
export function getHelpColumns(stream: OutputStream, env: CommandIo['env']): number {
  const columns = getTerminalColumns(stream, env) ?? parseColumns(env) ?? MAX_HELP_COLUMNS;
  return Math.max(MIN_HELP_COLUMNS, Math.min(MAX_HELP_COLUMNS, columns));
}

function parseColumns(env: CommandIo['env']): number | undefined {
  const text = env['COLUMNS'] ?? '';
  return /^[1-9]\d{0,4}$/.test(text) ? Number(text) : undefined;
}

/** Returns the number of columns that a string takes. East Asian characters and emoji take two, combining marks none. */
export function measureWidth(text: string): number {
  return measureSimpleText(text) ?? stringWidth(text);
}

/** Truncates a string to a number of columns, with `…` in place of the rest. Doesn't read the rest of the string. */
export function truncateToWidth(text: string, columns: number): string {
  let width = 0;
  let end = 0;
  for (const character of splitCharacters(text, columns)) {
    width += measureWidth(character);
    if (width > columns) return `${text.slice(0, end)}…`;
    if (width < columns) end += character.length;
  }
  return text;
}

/** Splits a string into graphemes. For a string without marks and emoji, returns only the characters that fit, plus one. */
function splitCharacters(text: string, columns: number): Iterable<string> {
  // The extra character shows that the string is too long, and whether it is a mark that belongs to the last one.
  const start = text.slice(0, columns + 1);
  return measureSimpleText(start) === undefined ? splitGraphemes(text) : start;
}

/**
 * Measures a string whose characters are one UTF-16 unit each and never combine. Returns undefined for any other string.
 * Nearly all strings are simple, and this is a thousand times faster than segmenting into graphemes.
 */
function measureSimpleText(text: string): number | undefined {
  let width = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    const unitWidth = isNarrow(unit) ? 1 : isWide(unit) ? 2 : undefined;
    if (unitWidth === undefined) return undefined;
    width += unitWidth;
  }
  return width;
}

/** Returns whether a unit is ASCII, a Latin or Cyrillic letter, or the ellipsis. */
function isNarrow(unit: number): boolean {
  return (
    (unit >= 0x20 && unit <= 0x7e) ||
    (unit >= 0xc0 && unit <= 0x24f) ||
    (unit >= 0x400 && unit <= 0x481) ||
    unit === 0x2026
  );
}

/** Returns whether a unit is kana, a Chinese character or a Korean syllable. */
function isWide(unit: number): boolean {
  return (
    (unit >= 0x4e00 && unit <= 0x9fff) ||
    (unit >= 0x3041 && unit <= 0x3096) ||
    (unit >= 0x30a1 && unit <= 0x30fa) ||
    (unit >= 0xac00 && unit <= 0xd7a3)
  );
}

let segmenter: Intl.Segmenter | undefined;

/** Yields the graphemes of a string. The segmenter is created on first use, which takes milliseconds. */
function* splitGraphemes(text: string): Generator<string> {
  segmenter ??= new Intl.Segmenter();
  for (const { segment } of segmenter.segment(text)) yield segment;
}
