import { useId, useMemo, useState } from 'preact/hooks';
import { filterRows, NO_FILTER, parseFilterText } from './fleet-filter.js';
import type { FleetRow, ShownState } from './fleet-row.js';
import { type RowColumn, type RowOrder, sortRows, toggleOrder } from './row-order.js';
import type { Session } from './session.js';
import { Age, CutText, formatCount, StateText, toShownText } from './shown-text.js';
import { SortChoice } from './sort-choice.js';
import { type GridColumn, VirtualGrid } from './virtual-grid.js';

/** The user's filters and order of the table of replicas. */
export interface TableChoice {
  readonly filterText: string;
  readonly name: string;
  readonly state: ShownState | undefined;
  readonly order: RowOrder;
}

/** The whole table, by id. */
export const FIRST_CHOICE: TableChoice = {
  filterText: '',
  name: '',
  state: undefined,
  order: { column: 'id', isDescending: false },
};

interface ReplicaViewProps {
  readonly session: Session;
  readonly choice: TableChoice;
  readonly onChoose: (choice: TableChoice) => void;
  readonly onOpen: (id: string) => void;
}

/** Columns whose highest value is the first that a person looks for. */
const startsDescending = (column: RowColumn): boolean => ['running', 'waiting', 'state'].includes(column);

/** Columns whose values change without a change of the list. */
const DETAIL_COLUMNS: ReadonlySet<RowColumn> = new Set(['running', 'waiting', 'seen']);

/** The replicas that pass a filter, in an order. */
export function ReplicaView({ session, choice, onChoose, onOpen }: ReplicaViewProps) {
  const { fleet } = session;
  const { filterText, name, state, order } = choice;
  const parsed = useMemo(() => parseFilterText(filterText), [filterText]);
  // While a filter is incomplete, the table shows what the last complete one found.
  const [complete, setComplete] = useState(NO_FILTER);
  if (parsed.kind === 'filter' && parsed.filter !== complete) setComplete(parsed.filter);
  const rows = useMemo(
    () => sortRows(filterRows(fleet.rows.values(), { capabilities: complete, name, state }), order),
    [fleet.version, DETAIL_COLUMNS.has(order.column) && fleet.detailVersion, complete, name, state, order],
  );
  const onSort = (column: RowColumn): void =>
    onChoose({ ...choice, order: toggleOrder(order, column, startsDescending) });
  const columns = createColumns(session.nowMs);
  return (
    <>
      <FilterForm choice={choice} onChoose={onChoose} error={parsed.kind === 'error' ? parsed.message : undefined} />
      <p class="shown-count">
        {formatCount(rows.length)} of {formatCount(fleet.rows.size)} replicas
      </p>
      <FilterResult count={rows.length} filter={[complete, name, state, fleet.isSynced]} />
      <SortChoice columns={columns} order={order} onSort={onSort} />
      <VirtualGrid
        label="Replicas"
        name="replicas"
        rows={rows}
        columns={columns}
        getKey={getRowId}
        order={order}
        onSort={onSort}
        onOpen={(row) => onOpen(row.id)}
        onVisible={(visible) => session.seen.watch(visible.map(getRowId))}
        emptyText={describeEmpty(session)}
      />
    </>
  );
}

/** Announces to screen readers how many replicas a new filter finds, but not each replica that comes and goes. */
function FilterResult({ count, filter }: { readonly count: number; readonly filter: readonly unknown[] }) {
  const text = useMemo(() => `${formatCount(count)} replicas pass the filter`, filter);
  return (
    <p class="for-screen-readers" role="status">
      {text}
    </p>
  );
}

const getRowId = (row: FleetRow): string => row.id;

function describeEmpty({ fleet }: Session): string {
  if (!fleet.isSynced) return 'Loading…';
  return fleet.rows.size === 0 ? 'No replica is registered.' : 'No replica passes the filter.';
}

function createColumns(nowMs: number): readonly GridColumn<FleetRow, RowColumn>[] {
  const columns: readonly GridColumn<FleetRow, RowColumn>[] = [
    { id: 'id', title: 'Id', render: ({ id }) => <CutText text={id} /> },
    { id: 'endpoint', title: 'Endpoint', render: ({ endpoint }) => <CutText text={endpoint} /> },
    { id: 'state', title: 'State', render: ({ state }) => <StateText state={state} /> },
    { id: 'since', title: 'Since', isNumeric: true, render: ({ sinceMs }) => <Age sinceMs={sinceMs} nowMs={nowMs} /> },
    { id: 'capabilities', title: 'Capabilities', render: (row) => <CutText text={row.capabilityText} /> },
    { id: 'running', title: 'Running', isNumeric: true, render: ({ load }) => <Calls count={load?.running} /> },
    { id: 'waiting', title: 'Waiting', isNumeric: true, render: ({ load }) => <Calls count={load?.waiting} /> },
    { id: 'seen', title: 'Last seen', isNumeric: true, render: (row) => <LastSeen row={row} nowMs={nowMs} /> },
  ];
  return columns.map((column) => ({ ...column, isSortable: true }));
}

function Calls({ count }: { readonly count: number | undefined }) {
  return count === undefined ? <span class="none">–</span> : formatCount(count);
}

/** When the server last heard of a replica. A lease without a TTL is never renewed: its open connection counts. */
export function LastSeen({ row, nowMs }: { readonly row: FleetRow; readonly nowMs: number }) {
  if (row.peer !== undefined && row.ttlMs === undefined) return <span class="none">connected</span>;
  return <Age sinceMs={row.seenMs} nowMs={nowMs} />;
}

interface FilterFormProps {
  readonly choice: TableChoice;
  readonly onChoose: (choice: TableChoice) => void;
  readonly error: string | undefined;
}

function FilterForm({ choice, onChoose, error }: FilterFormProps) {
  const id = useId();
  return (
    <form class="filters" onSubmit={(event) => event.preventDefault()}>
      <label class="field is-wide">
        <span>Capabilities</span>
        <input
          type="text"
          value={choice.filterText}
          placeholder="type=chat, ctx>=8192, !gpu"
          spellcheck={false}
          autocapitalize="off"
          autocomplete="off"
          aria-invalid={error !== undefined}
          aria-describedby={`${id}-error`}
          onInput={(event) => onChoose({ ...choice, filterText: event.currentTarget.value })}
        />
      </label>
      <label class="field">
        <span>Id or endpoint</span>
        <input
          type="search"
          value={choice.name}
          spellcheck={false}
          autocapitalize="off"
          autocomplete="off"
          onInput={(event) => onChoose({ ...choice, name: event.currentTarget.value })}
        />
      </label>
      <p id={`${id}-error`} class="field-error" aria-live="polite">
        {error !== undefined && toShownText(error)}
      </p>
    </form>
  );
}
