import Table from 'cli-table3';
import { escapeControls } from '../core/control-characters.js';
import type { CommandIo } from './command.js';
import { createColors } from './output.js';
import { getTerminalColumns, measureWidth, truncateToWidth } from './terminal-width.js';

/** Gap between two columns. */
const GAP = '   ';

/** Gap of a table that doesn't fit, if wide gaps would take more than a quarter of the terminal. */
const NARROW_GAP = ' ';

/**
 * Maximum width that a column is padded to in a pipe, where nothing is truncated. A wider cell shifts only its own row.
 * Padding 10,000 rows to one cell of 58 KB would print 580 MB.
 */
const MAX_PADDED_COLUMNS = 100;

/** A cell with its width. The width of a cell over the limit is the limit plus 1. */
interface Cell {
  readonly text: string;
  readonly width: number;
}

/** Maximum number of cells in a table for cli-table3, which takes time quadratic in the number of rows. */
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
 * Formats a table without borders. Each column is as wide as its widest cell. At a terminal, the table is truncated to the
 * terminal's width, unless `isTruncated` is false. Takes time linear in the size of the text.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>,
  { isTruncated = true }: { readonly isTruncated?: boolean } = {},
): string {
  const columns = isTruncated ? getTerminalColumns(stdout, env) : undefined;
  const limit = columns ?? MAX_PADDED_COLUMNS;
  const cells = [head, ...rows].map((row) => row.map((text) => createCell(escapeControls(text), limit)));
  const natural = head.map((_, column) =>
    getColumnWidth(cells, column, columns === undefined ? limit : Number.POSITIVE_INFINITY),
  );
  const gap = chooseGap(natural, columns);
  const widths = columns === undefined ? natural : fitWidths(natural, columns - gap.length * (head.length - 1));
  const printed =
    columns === undefined
      ? cells
      : cells.map((row) => row.map((cell, column) => truncateCell(cell, widths[column] ?? 0)));
  const [headLine = '', ...lines] = canUseLibrary(printed, widths)
    ? formatWithLibrary(printed, widths, gap)
    : formatLines(printed, widths, gap);
  const { bold } = createColors(stdout, env);
  return [headLine.replace(/[^ ]+/g, (title) => bold(title)), ...lines].map((line) => `${line}\n`).join('');
}

function createCell(text: string, limit: number): Cell {
  // Longer strings aren't measured. Only combining marks could make one narrower than the limit.
  const width = text.length > limit * 4 ? limit + 1 : measureWidth(text);
  return { text, width: Math.min(width, limit + 1) };
}

/** Returns the width of a column: that of its widest cell within the limit. */
function getColumnWidth(rows: readonly (readonly Cell[])[], column: number, limit: number): number {
  let widest = 0;
  for (const row of rows) {
    const { width } = row[column] as Cell;
    if (width > widest && width <= limit) widest = width;
  }
  return widest;
}

function chooseGap(natural: readonly number[], columns = Number.POSITIVE_INFINITY): string {
  const gaps = GAP.length * (natural.length - 1);
  const width = natural.reduce((sum, one) => sum + one, gaps);
  return width > columns && gaps > columns / 4 ? NARROW_GAP : GAP;
}

/** Shrinks the widest columns, down to a common width, until the total fits. */
function fitWidths(natural: readonly number[], available: number): number[] {
  let remaining = Math.max(available, natural.length);
  const fitted = [...natural];
  const narrowestFirst = natural
    .map((_, column) => column)
    .sort((a, b) => (natural[a] as number) - (natural[b] as number));
  narrowestFirst.forEach((column, done) => {
    const share = Math.floor(remaining / (natural.length - done));
    fitted[column] = Math.min(natural[column] as number, share);
    remaining -= fitted[column];
  });
  return fitted;
}

function truncateCell({ text, width }: Cell, available: number): Cell {
  if (width <= available) return { text, width };
  const truncated = truncateToWidth(text, available);
  return { text: truncated, width: measureWidth(truncated) };
}

/** Returns whether cli-table3 can format the rows. It measures new emoji wrong, and truncates cells wider than their column. */
function canUseLibrary(rows: readonly (readonly Cell[])[], widths: readonly number[]): boolean {
  if (rows.length * widths.length > MAX_LIBRARY_CELLS) return false;
  return rows.every((row) => row.every(({ text, width }, column) => width <= (widths[column] ?? 0) && isAscii(text)));
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7e…]*$/.test(text);
}

function formatWithLibrary(rows: readonly (readonly Cell[])[], widths: readonly number[], gap: string): string[] {
  const table = new Table({ ...NO_BORDERS, chars: { ...NO_BORDERS.chars, middle: gap }, colWidths: [...widths] });
  table.push(...rows.map((row) => row.map(({ text }) => text)));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd());
}

/** Formats rows as cli-table3 does, in time linear in the text. A cell wider than its column shifts the rest of its row. */
function formatLines(rows: readonly (readonly Cell[])[], widths: readonly number[], gap: string): string[] {
  return rows.map((row) => {
    const last = row.length - 1;
    const texts = row.map(({ text, width }, column) =>
      column === last ? text : text + ' '.repeat(Math.max(0, (widths[column] ?? 0) - width)),
    );
    return texts.join(gap).trimEnd();
  });
}
