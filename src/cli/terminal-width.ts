import stringWidth from 'string-width';
import type { CommandIo } from './command.js';

/** A stream that can be a terminal. */
type Screen = Pick<CommandIo['stdout'], 'isTTY' | 'columns'>;

/** Width of a terminal that does not report its own. */
const DEFAULT_COLUMNS = 80;

/** Widest help: longer lines are hard to read. */
const MAX_HELP_COLUMNS = 100;

/** Narrowest help: below this, an option and its description do not fit beside each other. */
const MIN_HELP_COLUMNS = 40;

/**
 * Number of columns of a terminal; undefined for a pipe or file, where nothing is cut. `COLUMNS` can make it narrower.
 * It cannot make it wider, because shells leave it behind when a terminal is resized.
 */
export function getTerminalColumns({ isTTY, columns }: Screen, env: CommandIo['env']): number | undefined {
  if (!isTTY) return undefined;
  const known = [columns, columnsFrom(env)].filter((count) => count !== undefined && count > 0) as number[];
  return known.length > 0 ? Math.min(...known) : DEFAULT_COLUMNS;
}

/** Number of columns of the help. It is wrapped in a pipe, too. */
export function getHelpColumns(stream: Screen, env: CommandIo['env']): number {
  const columns = getTerminalColumns(stream, env) ?? columnsFrom(env) ?? MAX_HELP_COLUMNS;
  return Math.max(MIN_HELP_COLUMNS, Math.min(MAX_HELP_COLUMNS, columns));
}

function columnsFrom(env: CommandIo['env']): number | undefined {
  const text = env['COLUMNS'] ?? '';
  return /^[1-9]\d{0,4}$/.test(text) ? Number(text) : undefined;
}

/** Number of columns that a text takes. East Asian characters and emoji take two, combining marks none. */
export function measureWidth(text: string): number {
  return plainWidth(text) ?? stringWidth(text);
}

/** Cuts a text to a number of columns, with `…` in the place of the rest. Looks no further than that. */
export function truncateToWidth(text: string, columns: number): string {
  let width = 0;
  let keptEnd = 0;
  for (const character of charactersOf(text, columns)) {
    width += measureWidth(character);
    if (width > columns) return `${text.slice(0, keptEnd)}…`;
    if (width < columns) keptEnd += character.length;
  }
  return text;
}

/** The characters of a text as a reader sees them; of one without marks and emoji no more than fit. */
function charactersOf(text: string, columns: number): Iterable<string> {
  // One more than fits shows that something is cut, and whether a mark belongs to the last one.
  const start = text.slice(0, columns + 1);
  return plainWidth(start) === undefined ? graphemes(text) : start;
}

/**
 * Width of a text of letters that are one UTF-16 unit each and never join with others; undefined for any other text. It
 * is a thousand times faster than to look for graphemes, and nearly all texts are such.
 */
function plainWidth(text: string): number | undefined {
  let width = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    const unitWidth = isNarrow(unit) ? 1 : isWide(unit) ? 2 : undefined;
    if (unitWidth === undefined) return undefined;
    width += unitWidth;
  }
  return width;
}

/** ASCII, Latin and Cyrillic letters, and the ellipsis. */
function isNarrow(unit: number): boolean {
  return (
    (unit >= 0x20 && unit <= 0x7e) ||
    (unit >= 0xc0 && unit <= 0x24f) ||
    (unit >= 0x400 && unit <= 0x481) ||
    unit === 0x2026
  );
}

/** Kana, Chinese characters and Korean syllables. */
function isWide(unit: number): boolean {
  return (
    (unit >= 0x4e00 && unit <= 0x9fff) ||
    (unit >= 0x3041 && unit <= 0x3096) ||
    (unit >= 0x30a1 && unit <= 0x30fa) ||
    (unit >= 0xac00 && unit <= 0xd7a3)
  );
}

let segmenter: Intl.Segmenter | undefined;

/** Characters as a reader sees them. The segmenter takes milliseconds to make, so only texts that need one get it. */
function* graphemes(text: string): Generator<string> {
  segmenter ??= new Intl.Segmenter();
  for (const { segment } of segmenter.segment(text)) yield segment;
}
