import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { RowOrder } from './row-order.js';
import { computeWindow, moveByKey, scrollToRow } from './row-window.js';

/** A column of a {@link VirtualGrid}. */
export interface GridColumn<Row, Column extends string> {
  readonly id: Column;
  readonly title: string;
  /** Aligned to the right. */
  readonly isNumeric?: boolean;
  readonly isSortable?: boolean;
  readonly render: (row: Row) => ComponentChildren;
}

/** Properties of a {@link VirtualGrid}. */
export interface VirtualGridProps<Row, Column extends string> {
  /** Name for screen readers, and for the style sheet, which has the widths of the columns. */
  readonly label: string;
  readonly name: string;
  readonly rows: readonly Row[];
  readonly columns: readonly GridColumn<Row, Column>[];
  readonly getKey: (row: Row) => string | number;
  readonly order?: RowOrder<Column> | undefined;
  readonly onSort?: ((column: Column) => void) | undefined;
  /** Called when a row is chosen with the mouse, Enter or Space. */
  readonly onOpen: (row: Row) => void;
  /** Called with the rows that can be seen, when they change. */
  readonly onVisible?: (rows: readonly Row[]) => void;
  /** Shown instead of rows if there are none. */
  readonly emptyText: string;
}

/** Heights of a row in a wide and in a narrow window, in pixels. The style sheet has the same. */
const ROW_HEIGHT = 36;
const NARROW_ROW_HEIGHT = 84;

/** The width up to which a row has several lines. The style sheet has the same. */
const NARROW = '(max-width: 760px)';

/**
 * A table of any length, of which only the rows near the visible ones are in the document. Follows the pattern of a grid: the
 * arrow keys move between rows, and Enter opens one.
 */
export function VirtualGrid<Row, Column extends string>(props: VirtualGridProps<Row, Column>) {
  const { label, name, rows, columns, getKey, order, onSort, onOpen, onVisible, emptyText } = props;
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const rowHeight = useRowHeight();
  const { height, scrollTop, onScroll } = useScrolling(scroller);
  const [activeKey, setActiveKey] = useState<string | number>();
  const { start, end } = computeWindow({ count: rows.length, rowHeight, scrollTop, height });
  const shown = rows.slice(start, end);
  const visibleKeys = onVisible ? shown.map(getKey).join('\n') : '';
  useEffect(() => onVisible?.(shown), [visibleKeys]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const list = scroller.current;
    if (list && event.target === list) moveOrOpen(event, list, { ...props, rowHeight, activeKey, setActiveKey });
  };
  const activeAt = shown.findIndex((row) => getKey(row) === activeKey);
  const toRowId = (at: number): string => `${id}-${start + at}`;
  return (
    <div
      ref={scroller}
      class={`grid ${name}`}
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-activedescendant={activeAt < 0 ? undefined : toRowId(activeAt)}
      tabIndex={0}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
    >
      <GridHead columns={columns} order={order} onSort={onSort} />
      <div role="rowgroup" class="grid-body" style={{ height: `${rows.length * rowHeight}px` }}>
        {shown.map((row, at) => {
          const place = { id: toRowId(at), index: start + at, rowHeight, isActive: at === activeAt };
          const onClick = (): void => {
            setActiveKey(getKey(row));
            onOpen(row);
          };
          return <GridRow key={getKey(row)} row={row} columns={columns} place={place} onClick={onClick} />;
        })}
      </div>
      {rows.length === 0 && <p class="empty">{emptyText}</p>}
    </div>
  );
}

/** The rows, and the active one of them. */
interface ActiveRow<Row> extends Pick<VirtualGridProps<Row, string>, 'rows' | 'getKey' | 'onOpen'> {
  readonly rowHeight: number;
  readonly activeKey: string | number | undefined;
  readonly setActiveKey: (key: string | number) => void;
}

/** Moves to another row, or opens the active one. Other keys keep their meaning. */
function moveOrOpen<Row>(event: KeyboardEvent, list: HTMLElement, active: ActiveRow<Row>): void {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { rows, getKey, onOpen, rowHeight, activeKey, setActiveKey } = active;
  const activeIndex = activeKey === undefined ? -1 : rows.findIndex((row) => getKey(row) === activeKey);
  const row = rows[activeIndex];
  if ((event.key === 'Enter' || event.key === ' ') && row) {
    event.preventDefault();
    onOpen(row);
    return;
  }
  const height = list.clientHeight - ROW_HEIGHT;
  const index = moveByKey(event.key, activeIndex, rows.length, Math.max(1, Math.floor(height / rowHeight) - 1));
  const next = index === undefined ? undefined : rows[index];
  if (index === undefined || !next) return;
  event.preventDefault();
  setActiveKey(getKey(next));
  list.scrollTop = scrollToRow(index, { rowHeight, scrollTop: list.scrollTop, height });
}

interface GridRowProps<Row, Column extends string> {
  readonly row: Row;
  readonly columns: readonly GridColumn<Row, Column>[];
  readonly place: {
    readonly id: string;
    readonly index: number;
    readonly rowHeight: number;
    readonly isActive: boolean;
  };
  readonly onClick: () => void;
}

function GridRow<Row, Column extends string>({ row, columns, place, onClick }: GridRowProps<Row, Column>) {
  const { id, index, rowHeight, isActive } = place;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the focus, and handles the keys
    <div
      id={id}
      role="row"
      class={isActive ? 'grid-row is-active' : 'grid-row'}
      // Row 1 is the head.
      aria-rowindex={index + 2}
      style={{ transform: `translateY(${index * rowHeight}px)` }}
      onClick={onClick}
    >
      {columns.map(({ id: column, isNumeric, render }) => (
        <div key={column} role="gridcell" class={isNumeric ? `is-${column} is-numeric` : `is-${column}`}>
          {render(row)}
        </div>
      ))}
    </div>
  );
}

function GridHead<Row, Column extends string>({
  columns,
  order,
  onSort,
}: Pick<VirtualGridProps<Row, Column>, 'columns' | 'order' | 'onSort'>) {
  return (
    <div role="rowgroup" class="grid-head">
      <div role="row" class="grid-row" aria-rowindex={1}>
        {columns.map((column) => (
          <ColumnHead key={column.id} column={column} order={order} onSort={onSort} />
        ))}
      </div>
    </div>
  );
}

interface ColumnHeadProps<Row, Column extends string> {
  readonly column: GridColumn<Row, Column>;
  readonly order: RowOrder<Column> | undefined;
  readonly onSort: ((column: Column) => void) | undefined;
}

function ColumnHead<Row, Column extends string>({ column, order, onSort }: ColumnHeadProps<Row, Column>) {
  const { id, title, isNumeric, isSortable } = column;
  const direction = order?.column === id ? (order.isDescending ? 'descending' : 'ascending') : undefined;
  const className = isNumeric ? `is-${id} is-numeric` : `is-${id}`;
  if (!isSortable || !onSort) {
    return (
      <div role="columnheader" class={className}>
        {title}
      </div>
    );
  }
  return (
    <div role="columnheader" class={className} aria-sort={direction ?? 'none'}>
      <button type="button" class="sort" onClick={() => onSort(id)}>
        {title}
      </button>
    </div>
  );
}

/** Returns the height and the scroll position of an element. Draws again only when another window of rows is necessary. */
function useScrolling(scroller: { readonly current: HTMLElement | null }) {
  const [height, setHeight] = useState(600);
  const [scrollTop, setScrollTop] = useState(0);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    setHeight(element.clientHeight);
    return () => observer.disconnect();
  }, []);
  const onScroll = (event: Event): void => setScrollTop((event.currentTarget as HTMLElement).scrollTop);
  return { height, scrollTop, onScroll };
}

function useRowHeight(): number {
  const [isNarrow, setIsNarrow] = useState(() => matchMedia(NARROW).matches);
  useLayoutEffect(() => {
    const query = matchMedia(NARROW);
    const onChange = (): void => setIsNarrow(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, []);
  return isNarrow ? NARROW_ROW_HEIGHT : ROW_HEIGHT;
}
