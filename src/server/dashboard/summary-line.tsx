import { formatAge, formatSeconds } from '../../core/durations.js';
import { type Attention, listAttention } from './attention.js';
import { formatTime } from './browser.js';
import { SHOWN_STATES, type ShownState } from './fleet-row.js';
import type { ServerInfo } from './server-info.js';
import type { Connection, Session } from './session.js';
import { formatCount, toShownText } from './shown-text.js';

interface SummaryLineProps {
  readonly session: Session;
  /** The state whose replicas the table shows. Undefined for all. */
  readonly state: ShownState | undefined;
  readonly onState: (state: ShownState | undefined) => void;
}

/** The numbers of the fleet. Each state is a switch: the table then shows its replicas only. */
export function SummaryLine({ session, state, onState }: SummaryLineProps) {
  const { fleet } = session;
  const { states: counts, hosts, offers } = fleet.totals;
  return (
    <section class="summary" aria-label="Summary">
      <fieldset class="states">
        <legend class="for-screen-readers">Replicas by state</legend>
        {SHOWN_STATES.map((one) => (
          <button
            key={one}
            type="button"
            class={counts[one] === 0 ? 'number is-zero' : 'number'}
            aria-pressed={state === one}
            onClick={() => onState(state === one ? undefined : one)}
          >
            <b>{formatCount(counts[one])}</b>
            <span class={`state is-${one}`}>{one}</span>
          </button>
        ))}
      </fieldset>
      <dl class="totals">
        <Total noun="replica" count={fleet.rows.size} />
        <Total noun="model" count={offers.length} />
        <Total noun="host" count={hosts} />
      </dl>
    </section>
  );
}

function Total({ noun, count }: { readonly noun: string; readonly count: number }) {
  return (
    <div class="number">
      <dt>{count === 1 ? noun : `${noun}s`}</dt>
      <dd>{formatCount(count)}</dd>
    </div>
  );
}

/** The list of problems that need attention. */
export function AttentionList({ session }: { readonly session: Session }) {
  const { fleet, log, server, nowMs } = session;
  const items = listAttention({ fleet, log, server, nowMs });
  return (
    <section class="attention" aria-label="Needs attention" aria-live="polite">
      <ul>
        {items.map((item) => (
          <AttentionItem key={item.key} item={item} onDismiss={(keys) => session.forgetLostOffers(keys)} />
        ))}
      </ul>
    </section>
  );
}

interface AttentionItemProps {
  readonly item: Attention;
  readonly onDismiss: (lostOffers: readonly string[]) => void;
}

function AttentionItem({ item, onDismiss }: AttentionItemProps) {
  const { level, text, lostOffers } = item;
  return (
    <li class={`is-${level}`}>
      <span>{toShownText(text)}</span>
      {lostOffers && (
        <button type="button" class="link" onClick={() => onDismiss(lostOffers)}>
          Dismiss
        </button>
      )}
    </li>
  );
}

/** The API server and its store. */
export function ServerLine({ server, address }: { readonly server: ServerInfo | undefined; readonly address: string }) {
  const parts = [address, ...(server ? describeServer(server) : [])];
  return <p class="server">{parts.join(' · ')}</p>;
}

function describeServer({ version, store, startedMs, nowMs }: ServerInfo): string[] {
  return [
    ...(version === undefined ? [] : [`version ${version}`]),
    ...(store === undefined ? [] : [`${store} store`]),
    `up ${formatAge(nowMs - startedMs)}`,
  ];
}

/** Whether what the page shows is up to date. */
export function ConnectionText({ connection: { kind } }: { readonly connection: Connection }) {
  const isLive = kind === 'live' || kind === 'found';
  const text = isLive ? 'live' : kind === 'lost' ? 'not connected' : 'connecting';
  return <p class={`connection state is-${isLive ? 'ready' : kind === 'lost' ? 'unready' : 'suspect'}`}>{text}</p>;
}

/** Reports that the connection is lost, and that it was found again. */
export function Banner({ connection }: { readonly connection: Connection }) {
  return (
    <div role="status" class="banner-place">
      {connection.kind === 'lost' && (
        <p class="banner is-lost">
          <b>The connection to the API server is lost.</b> You see the fleet as it was at{' '}
          {formatTime(connection.sinceMs)}. Trying again: {toShownText(connection.reason)}.
        </p>
      )}
      {connection.kind === 'found' && (
        <p class="banner is-found">
          Connected again after {formatSeconds(connection.afterMs)}. What you see is up to date.
        </p>
      )}
    </div>
  );
}
