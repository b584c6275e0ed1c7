import { useMemo, useState } from 'preact/hooks';
import type { Offer } from '../../core/offer.js';
import type { FleetRow } from './fleet-row.js';
import type { OfferTally } from './live-fleet.js';
import { type RowOrder, toggleOrder } from './row-order.js';
import type { Session } from './session.js';
import { CutText, formatCount, toShownText } from './shown-text.js';
import { SortChoice } from './sort-choice.js';
import { type GridColumn, VirtualGrid } from './virtual-grid.js';

type ModelColumn = 'model' | 'type' | 'ready' | 'total' | 'running' | 'waiting' | 'replicas';

/** Maximum number of replicas that a row names. */
const MAX_NAMED = 20;

const SORT_VALUES: Readonly<Record<ModelColumn, (tally: OfferTally) => string | number>> = {
  model: ({ offer }) => offer.model ?? '',
  type: ({ offer }) => offer.type ?? '',
  ready: ({ ready }) => ready,
  total: ({ rows }) => rows.size,
  running: ({ rows }) => sumCalls(rows, 'running') ?? -1,
  waiting: ({ rows }) => sumCalls(rows, 'waiting') ?? -1,
  replicas: ({ offer }) => offer.key,
};

const COLUMNS: readonly GridColumn<OfferTally, ModelColumn>[] = [
  { id: 'model', title: 'Model', isSortable: true, render: ({ offer }) => <OfferPart text={offer.model} /> },
  { id: 'type', title: 'Type', isSortable: true, render: ({ offer }) => <OfferPart text={offer.type} /> },
  { id: 'ready', title: 'Ready', isSortable: true, isNumeric: true, render: (tally) => <ReadyCount tally={tally} /> },
  { id: 'total', title: 'Replicas', isSortable: true, isNumeric: true, render: ({ rows }) => formatCount(rows.size) },
  {
    id: 'running',
    title: 'Running',
    isSortable: true,
    isNumeric: true,
    render: ({ rows }) => formatCalls(sumCalls(rows, 'running')),
  },
  {
    id: 'waiting',
    title: 'Waiting',
    isSortable: true,
    isNumeric: true,
    render: ({ rows }) => formatCalls(sumCalls(rows, 'waiting')),
  },
  { id: 'replicas', title: 'Offered by', render: ({ rows }) => <CutText text={nameReplicas(rows)} /> },
];

interface ModelViewProps {
  readonly session: Session;
  /** Called with the offer whose replicas a person wants to see. */
  readonly onOpen: (offer: Offer) => void;
}

/** The models that are offered, by whom, and how many of these replicas get calls. */
export function ModelView({ session, onOpen }: ModelViewProps) {
  const { fleet } = session;
  const [order, setOrder] = useState<RowOrder<ModelColumn>>({ column: 'model', isDescending: false });
  const tallies = useMemo(() => sortTallies(fleet.totals.offers, order), [fleet.version, fleet.detailVersion, order]);
  const startsDescending = (column: ModelColumn): boolean => column !== 'model' && column !== 'type';
  const onSort = (column: ModelColumn): void => setOrder(toggleOrder(order, column, startsDescending));
  return (
    <>
      <SortChoice columns={COLUMNS} order={order} onSort={onSort} />
      <VirtualGrid
        label="Models"
        name="models"
        rows={tallies}
        columns={COLUMNS}
        getKey={({ offer }) => offer.key}
        order={order}
        onSort={onSort}
        onOpen={({ offer }) => onOpen(offer)}
        emptyText={fleet.isSynced ? 'No replica offers a model.' : 'Loading…'}
      />
    </>
  );
}

function sortTallies(tallies: readonly OfferTally[], { column, isDescending }: RowOrder<ModelColumn>): OfferTally[] {
  const getValue = SORT_VALUES[column];
  const keyed = tallies.map((tally) => ({ tally, value: getValue(tally) }));
  const sign = isDescending ? -1 : 1;
  keyed.sort((a, b) => (a.value === b.value ? 0 : a.value < b.value ? -sign : sign));
  return keyed.map(({ tally }) => tally);
}

function OfferPart({ text }: { readonly text: string | undefined }) {
  return text === undefined ? <span class="none">–</span> : <CutText text={text} />;
}

function ReadyCount({ tally: { ready } }: { readonly tally: OfferTally }) {
  return ready === 0 ? <span class="state is-unready">none</span> : formatCount(ready);
}

/** Sums the calls of the replicas that report them. These are the calls for all of their models. */
function sumCalls(rows: Iterable<FleetRow>, name: 'running' | 'waiting'): number | undefined {
  let sum: number | undefined;
  for (const { load } of rows) if (load) sum = (sum ?? 0) + load[name];
  return sum;
}

function formatCalls(count: number | undefined): string {
  return count === undefined ? '–' : formatCount(count);
}

function nameReplicas(rows: ReadonlySet<FleetRow>): string {
  const names = [...rows].slice(0, MAX_NAMED).map(({ id, state }) => (state === 'ready' ? id : `${id} (${state})`));
  const more = rows.size - names.length;
  return toShownText(more > 0 ? `${names.join(', ')} and ${formatCount(more)} more` : names.join(', '));
}
