import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { formatEventDetails } from '../../api/event-details.js';
import { formatDuration } from '../../core/durations.js';
import { PROTOCOL_NAMES } from '../../core/protocol.js';
import { formatTime } from './browser.js';
import type { FleetRow } from './fleet-row.js';
import { LastSeen } from './replica-view.js';
import type { Session } from './session.js';
import { Age, formatCount, StateText, toShownText } from './shown-text.js';

/** Maximum number of events that the details have. */
const MAX_EVENTS_SHOWN = 50;

/** Number of capability objects that are shown at first. A replica can have 4,096. */
const FIRST_CAPABILITIES = 100;

interface ReplicaDetailsProps {
  readonly session: Session;
  readonly id: string;
  readonly onClose: () => void;
}

/** A dialog with everything that is known about a replica, in full length. It stays open when the replica leaves. */
export function ReplicaDetails({ session, id, onClose }: ReplicaDetailsProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const last = useRef<FleetRow>(undefined);
  const row = session.fleet.rows.get(id);
  last.current = row ?? (last.current?.id === id ? last.current : undefined);
  // Not useEffect: it runs up to 100 ms later, and a key that is pressed until then would not reach the dialog.
  useLayoutEffect(() => dialog.current?.showModal(), []);
  const events = session.log.events.filter(({ replicaId }) => replicaId === id).slice(0, MAX_EVENTS_SHOWN);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog
    <dialog ref={dialog} class="details" aria-labelledby="details-title" onClose={onClose} onClick={closeOnBackdrop}>
      <div class="details-content">
        <header>
          <h2 id="details-title">{toShownText(id)}</h2>
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </header>
        {!row && <p class="note">This replica is not registered any more.</p>}
        {last.current && <Facts row={last.current} nowMs={session.nowMs} />}
        {last.current && <Capabilities row={last.current} />}
        <h3>Events</h3>
        {events.length === 0 && <p class="none">None in the history of this server.</p>}
        <ol class="details-events">
          {events.map((event) => (
            <li key={event.seq}>
              <time>{formatTime(event.atMs)}</time> <b>{toShownText(event.kind)}</b>{' '}
              {toShownText(formatEventDetails(event))}
            </li>
          ))}
        </ol>
      </div>
    </dialog>
  );
}

function closeOnBackdrop(event: MouseEvent): void {
  if (event.target === event.currentTarget) (event.currentTarget as HTMLDialogElement).close();
}

function Facts({ row, nowMs }: { readonly row: FleetRow; readonly nowMs: number }) {
  const { state, reportedState, sinceMs, cordon, peer, ttlMs, weight, load, protocol } = row;
  return (
    <dl>
      <dt>State</dt>
      <dd>
        <StateText state={state} />
        {state === 'cordoned' && ` (reports ${toShownText(reportedState)})`} for <Age sinceMs={sinceMs} nowMs={nowMs} />
      </dd>
      {cordon?.cordoned && <dt>Cordoned</dt>}
      {cordon?.cordoned && (
        <dd>
          {formatTime(cordon.atMs)}: {toShownText(cordon.reason || 'no reason given')}
        </dd>
      )}
      <dt>Endpoint</dt>
      <dd>
        {toShownText(row.endpoint)} ({PROTOCOL_NAMES[protocol]})
      </dd>
      <dt>Registered by</dt>
      <dd>{peer === undefined ? 'another API server' : `${toShownText(peer)}, ${describeLease(ttlMs)}`}</dd>
      <dt>Last seen</dt>
      <dd>
        <LastSeen row={row} nowMs={nowMs} />
      </dd>
      <dt>Load</dt>
      <dd>{load ? describeLoad(load) : 'not reported'}</dd>
      {weight !== 1 && <dt>Weight</dt>}
      {weight !== 1 && <dd>{weight}</dd>}
    </dl>
  );
}

function Capabilities({ row: { capabilities } }: { readonly row: FleetRow }) {
  const [isWhole, setIsWhole] = useState(false);
  const shown = isWhole ? capabilities : capabilities.slice(0, FIRST_CAPABILITIES);
  return (
    <>
      <h3>Capabilities</h3>
      {capabilities.length === 0 && <p class="none">None.</p>}
      <ul class="details-capabilities">
        {shown.map(({ source }, at) => (
          <li key={at}>{toShownText(source)}</li>
        ))}
      </ul>
      {shown.length < capabilities.length && (
        <button type="button" class="link" onClick={() => setIsWhole(true)}>
          Show all {formatCount(capabilities.length)}
        </button>
      )}
    </>
  );
}

function describeLease(ttlMs: number | undefined): string {
  return ttlMs === undefined ? 'as long as its connection is open' : `with a lease of ${formatDuration(ttlMs)}`;
}

function describeLoad({ running, waiting, limit }: NonNullable<FleetRow['load']>): string {
  return `${running} running${limit === undefined ? '' : ` of at most ${limit}`}, ${waiting} waiting`;
}
