import type { MergedReplica } from '../client/merged-list.js';

/** Columns that a list of replicas can be sorted by. */
export const SORT_COLUMNS = ['id', 'endpoint', 'state', 'since', 'seen', 'running', 'waiting'] as const;

export type SortColumn = (typeof SORT_COLUMNS)[number];

/** A value to sort by. Undefined: unknown. */
export type SortKey = string | number | undefined;

/** Returns what a row is sorted by. Times are sorted from the most recent one, and calls from the highest number. */
const SORT_KEYS: Readonly<Record<SortColumn, (row: MergedReplica) => SortKey>> = {
  id: ({ listed }) => listed.replica.id,
  endpoint: ({ listed }) => listed.replica.endpoint,
  state: ({ listed }) => listed.state,
  since: ({ listed }) => listed.stateAgeMs,
  seen: ({ listed }) => listed.lastSeenAgeMs,
  running: ({ listed }) => negate(listed.load?.running),
  waiting: ({ listed }) => negate(listed.load?.waiting),
};

/** Returns the rows sorted by a column. Rows with the same value keep their order. */
export function sortReplicas(rows: readonly MergedReplica[], column: SortColumn): readonly MergedReplica[] {
  const getKey = SORT_KEYS[column];
  return [...rows].sort((a, b) => compareSortKeys(getKey(a), getKey(b)));
}

/**
 * Compares two values. Strings are compared by their UTF-16 units, so that the order doesn't depend on the language of the user.
 * An unknown value is last.
 */
export function compareSortKeys(a: SortKey, b: SortKey): number {
  if (a === b) return 0;
  if (a === undefined) return 1;
  return b === undefined || a < b ? -1 : 1;
}

function negate(count: number | undefined): number | undefined {
  return count === undefined ? undefined : -count;
}
