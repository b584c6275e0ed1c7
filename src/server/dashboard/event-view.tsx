import { formatEventDetails } from '../../api/event-details.js';
import type { ReceivedEvent } from '../../api/event-json.js';
import { formatExactTime, formatTime } from './browser.js';
import type { Session } from './session.js';
import { CutText } from './shown-text.js';
import { type GridColumn, VirtualGrid } from './virtual-grid.js';

type EventColumn = 'time' | 'kind' | 'replica' | 'details';

/** Kinds of events that need somebody, with the state whose colour they have. */
const MARKED_KINDS: Readonly<Record<string, string>> = {
  suspected: 'is-suspect',
  id_conflict: 'is-unready',
  registration_refused: 'is-suspect',
  self_preservation_entered: 'is-unready',
};

const COLUMNS: readonly GridColumn<ReceivedEvent, EventColumn>[] = [
  {
    id: 'time',
    title: 'Time',
    render: ({ atMs }) => <time dateTime={formatExactTime(atMs)}>{formatTime(atMs)}</time>,
  },
  { id: 'kind', title: 'Event', render: ({ kind }) => <EventKind kind={kind} /> },
  { id: 'replica', title: 'Replica', render: ({ replicaId = '' }) => <CutText text={replicaId} /> },
  { id: 'details', title: 'Details', render: (event) => <CutText text={formatEventDetails(event)} /> },
];

interface EventViewProps {
  readonly session: Session;
  readonly onOpen: (replicaId: string) => void;
}

/** The last events of the server, newest first, with their reasons. */
export function EventView({ session, onOpen }: EventViewProps) {
  return (
    <VirtualGrid
      label="Events"
      name="events"
      rows={session.log.events}
      columns={COLUMNS}
      getKey={({ seq }) => seq}
      onOpen={({ replicaId }) => replicaId !== undefined && onOpen(replicaId)}
      emptyText="Nothing has happened since the server started."
    />
  );
}

function EventKind({ kind }: { readonly kind: string }) {
  const mark = Object.hasOwn(MARKED_KINDS, kind) ? `state ${MARKED_KINDS[kind]}` : '';
  return <CutText className={mark} text={kind.replaceAll('_', ' ')} />;
}
