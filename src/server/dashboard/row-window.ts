/** The rows of a long list that are in the document: those that can be seen, and some before and after them. */
export interface RowWindow {
  /** Index of the first row. */
  readonly start: number;
  /** Index after the last row. */
  readonly end: number;
}

/** A scrolled list. All sizes are in pixels. */
export interface ScrolledList {
  readonly count: number;
  readonly rowHeight: number;
  readonly scrollTop: number;
  readonly height: number;
}

/** Number of rows before and after the visible ones. The window moves in steps of half of it, so most scroll events change nothing. */
const OVERSCAN = 12;

/** Returns the rows that must be in the document. */
export function computeWindow({ count, rowHeight, scrollTop, height }: ScrolledList): RowWindow {
  const step = OVERSCAN / 2;
  const first = Math.floor(Math.max(0, scrollTop) / rowHeight / step) * step;
  const visible = Math.ceil(height / rowHeight) + step;
  const start = Math.min(Math.max(0, first - step), Math.max(0, count - visible));
  return { start, end: Math.min(count, first + visible + step) };
}

/** Returns the scroll position at which a row is completely visible, as close to the present one as possible. */
export function scrollToRow(index: number, { rowHeight, scrollTop, height }: Omit<ScrolledList, 'count'>): number {
  const top = index * rowHeight;
  if (top < scrollTop) return top;
  return Math.max(scrollTop, top + rowHeight - height);
}

/** Returns the row that a key moves to from another one; undefined for any other key. No row is -1. */
export function moveByKey(key: string, index: number, count: number, pageRows: number): number | undefined {
  const last = count - 1;
  const clamp = (to: number): number => Math.min(last, Math.max(0, to));
  switch (key) {
    case 'ArrowDown':
      return clamp(index + 1);
    case 'ArrowUp':
      return clamp(index - 1);
    case 'PageDown':
      return clamp(index + pageRows);
    case 'PageUp':
      return clamp(index - pageRows);
    case 'Home':
      return clamp(0);
    case 'End':
      return clamp(last);
    default:
      return undefined;
  }
}
