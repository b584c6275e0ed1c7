import Table from 'cli-table3';
import { escapeControls } from '../core/control-characters.js';
import type { CommandIo } from './command.js';
import { createColors } from './output.js';
import { getTerminalColumns, measureWidth, truncateToWidth } from './terminal-width.js';

/** Gap between two columns. */
const GAP = '   ';

/** Gap of a table that does not fit, where wide gaps would take over a quarter of the terminal. */
const NARROW_GAP = ' ';

/**
 * Widest cell that its column is padded to in a pipe, where nothing is cut. A longer cell shifts its own row only: padding
 * 10,000 rows to one cell of 58 KB would print 580 MB.
 */
const MAX_PADDED = 100;

/** A cell with its width; a cell over the limit counts as one more than that. */
interface Cell {
  readonly text: string;
  readonly width: number;
}

/** Maximum number of cells of a table that cli-table3 lays out. Its time grows with the square of the number of rows. */
const MAX_LIBRARY_CELLS = 200;

/** Options of cli-table3 for a table without borders. */
const NO_BORDERS = {
  style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  chars: {
    top: '',
    'top-mid': '',
    'top-left': '',
    'top-right': '',
    bottom: '',
    'bottom-mid': '',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    mid: '',
    'mid-mid': '',
    right: '',
    'right-mid': '',
  },
};

/**
 * Lays out a table for people: no borders, each column as wide as its widest cell, and at a terminal no wider than that.
 * Takes time linear in the text.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>,
): string {
  const columns = getTerminalColumns(stdout, env);
  const limit = columns ?? MAX_PADDED;
  const cells = [head, ...rows].map((row) => row.map((text) => cellFrom(escapeControls(text), limit)));
  const natural = head.map((_, at) => widestOf(cells, at, columns === undefined ? limit : Number.POSITIVE_INFINITY));
  const gap = gapFor(natural, columns);
  const widths = columns === undefined ? natural : fittedWidths(natural, columns - gap.length * (head.length - 1));
  const shown =
    columns === undefined ? cells : cells.map((row) => row.map((cell, at) => cutCell(cell, widths[at] ?? 0)));
  const [headLine = '', ...lines] = isForLibrary(shown, widths)
    ? libraryLines(shown, widths, gap)
    : plainLines(shown, widths, gap);
  const { bold } = createColors(stdout, env);
  return [headLine.replace(/[^ ]+/g, (title) => bold(title)), ...lines].map((line) => `${line}\n`).join('');
}

function cellFrom(text: string, limit: number): Cell {
  // Texts this long are not measured. Only marks could make one of them narrower than the limit.
  const width = text.length > limit * 4 ? limit + 1 : measureWidth(text);
  return { text, width: Math.min(width, limit + 1) };
}

/** Width of a column: that of its widest cell, of those within the limit. */
function widestOf(rows: readonly (readonly Cell[])[], at: number, limit: number): number {
  let widest = 0;
  for (const row of rows) {
    const { width } = row[at] as Cell;
    if (width > widest && width <= limit) widest = width;
  }
  return widest;
}

function gapFor(natural: readonly number[], columns = Number.POSITIVE_INFINITY): string {
  const gaps = GAP.length * (natural.length - 1);
  const width = natural.reduce((sum, one) => sum + one, gaps);
  return width > columns && gaps > columns / 4 ? NARROW_GAP : GAP;
}

/** Widths that add up to the room there is: the widest columns give way, down to the same width. */
function fittedWidths(natural: readonly number[], room: number): number[] {
  let left = Math.max(room, natural.length);
  const fitted = [...natural];
  const narrowestFirst = natural.map((_, at) => at).sort((a, b) => (natural[a] as number) - (natural[b] as number));
  narrowestFirst.forEach((at, done) => {
    const share = Math.floor(left / (natural.length - done));
    fitted[at] = Math.min(natural[at] as number, share);
    left -= fitted[at];
  });
  return fitted;
}

function cutCell({ text, width }: Cell, room: number): Cell {
  if (width <= room) return { text, width };
  const cut = truncateToWidth(text, room);
  return { text: cut, width: measureWidth(cut) };
}

/** Whether cli-table3 lays the rows out. It measures new emoji wrong, and cuts what is wider than its column. */
function isForLibrary(rows: readonly (readonly Cell[])[], widths: readonly number[]): boolean {
  if (rows.length * widths.length > MAX_LIBRARY_CELLS) return false;
  return rows.every((row) => row.every(({ text, width }, at) => width <= (widths[at] ?? 0) && isAscii(text)));
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7e…]*$/.test(text);
}

function libraryLines(rows: readonly (readonly Cell[])[], widths: readonly number[], gap: string): string[] {
  const table = new Table({ ...NO_BORDERS, chars: { ...NO_BORDERS.chars, middle: gap }, colWidths: [...widths] });
  table.push(...rows.map((row) => row.map(({ text }) => text)));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd());
}

/** Lays out rows as cli-table3 does, in time linear in the text. A cell wider than its column shifts the rest of its row. */
function plainLines(rows: readonly (readonly Cell[])[], widths: readonly number[], gap: string): string[] {
  return rows.map((row) => {
    const last = row.length - 1;
    const texts = row.map(({ text, width }, at) =>
      at === last ? text : text + ' '.repeat(Math.max(0, (widths[at] ?? 0) - width)),
    );
    return texts.join(gap).trimEnd();
  });
}
