import { type FleetRow, SHOWN_STATES } from './fleet-row.js';

/** A column by which the replicas can be sorted. */
export type RowColumn = 'id' | 'endpoint' | 'state' | 'since' | 'capabilities' | 'running' | 'waiting' | 'seen';

/** The order of the rows of a table. */
export interface RowOrder<Column extends string = RowColumn> {
  readonly column: Column;
  readonly isDescending: boolean;
}

const SORT_VALUES: Readonly<Record<RowColumn, (row: FleetRow) => string | number | undefined>> = {
  id: ({ sortKey }) => sortKey,
  endpoint: ({ endpoint }) => endpoint,
  // In descending order, the states that need attention come first.
  state: ({ state }) => SHOWN_STATES.indexOf(state),
  since: ({ sinceMs }) => negate(sinceMs),
  // The text that is shown takes too long to format for all rows.
  capabilities: ({ capabilities }) => capabilities.map(({ source }) => source).join(),
  running: ({ load }) => load?.running,
  waiting: ({ load }) => load?.waiting,
  // A lease without a TTL is seen as long as its connection is open.
  seen: ({ seenMs, ttlMs }) => (ttlMs === undefined ? undefined : negate(seenMs)),
};

/** Sorts rows by a column, and rows with the same value by their id. Unknown values come last in both directions. */
export function sortRows(rows: readonly FleetRow[], { column, isDescending }: RowOrder): FleetRow[] {
  const getValue = SORT_VALUES[column];
  const keyed = rows.map((row) => ({ row, value: getValue(row), key: row.sortKey }));
  const sign = isDescending ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.value !== b.value) {
      if (a.value === undefined || b.value === undefined) return a.value === undefined ? 1 : -1;
      return a.value < b.value ? -sign : sign;
    }
    return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
  });
  return keyed.map(({ row }) => row);
}

/** Returns the order after a click on the head of a column: the other direction, or the column's first one. */
export function toggleOrder<Column extends string>(
  order: RowOrder<Column>,
  column: Column,
  startsDescending: (column: Column) => boolean = () => false,
): RowOrder<Column> {
  const isDescending = order.column === column ? !order.isDescending : startsDescending(column);
  return { column, isDescending };
}

function negate(value: number | undefined): number | undefined {
  return value === undefined ? undefined : -value;
}
