import type { CommandIo } from './command.js';
import { coloursFor, printable } from './output.js';
import { columnsOf, cutToWidth, widthOf } from './terminal-width.js';

/** Gap between two columns. */
const GAP = '   ';

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

/**
 * A table for people: no borders, each column as wide as its widest cell, and at a terminal no wider than that. Takes
 * time linear in its text, which table packages don't: cli-table3 needs 15 s for 10,000 rows.
 */
export function tableText(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>,
): string {
  const columns = columnsOf(stdout, env);
  const limit = columns ?? MAX_PADDED;
  const cells = [head, ...rows].map((row) =>
    row.map((text, at) => cellFrom(printable(text), columns === undefined && at === row.length - 1 ? 0 : limit)),
  );
  const natural = head.map((_, at) => widestOf(cells, at, columns === undefined ? limit : Number.POSITIVE_INFINITY));
  const widths = columns === undefined ? natural : fittedWidths(natural, columns - GAP.length * (head.length - 1));
  const { bold } = coloursFor(stdout, env);
  const [headLine = '', ...lines] = cells.map((row) => lineFrom(row, widths, columns !== undefined));
  return [headLine.replace(/[^ ]+/g, (title) => bold(title)), ...lines].map((line) => `${line}\n`).join('');
}

function cellFrom(text: string, limit: number): Cell {
  // Texts this long are not measured. Only marks could make one of them narrower than the limit.
  const width = text.length > limit * 4 ? limit + 1 : widthOf(text);
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

function lineFrom(row: readonly Cell[], widths: readonly number[], isCut: boolean): string {
  const texts = row.map(({ text, width }, at) => {
    const room = widths[at] as number;
    const isTooWide = isCut && width > room;
    const shown = isTooWide ? cutToWidth(text, room) : text;
    // The last column is not padded.
    if (at === row.length - 1) return shown;
    return shown + ' '.repeat(Math.max(0, room - (isTooWide ? widthOf(shown) : width)));
  });
  return texts.join(GAP).trimEnd();
}
