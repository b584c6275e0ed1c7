import type { EventLog } from './event-log.js';
import { formatOffer } from './fleet-row.js';
import type { LiveFleet } from './live-fleet.js';
import type { ServerInfo } from './server-info.js';

/** Something that needs somebody. */
export interface Attention {
  /** The same for the same problem, however often it's computed. */
  readonly key: string;
  readonly level: 'problem' | 'notice';
  readonly text: string;
  /** Keys of the lost offers that the page forgets when a person dismisses this. Undefined for a problem that still exists. */
  readonly lostOffers?: readonly string[];
}

/** Time for which an event needs attention, in ms. */
const RECENT_MS = 300_000;

/** Maximum number of items of one kind. One more item counts the others. */
const MAX_ITEMS = 3;

/** The parts of the dashboard that can need attention. */
export interface AttentionSources {
  readonly fleet: LiveFleet;
  readonly log: EventLog;
  /** Undefined while it isn't known. */
  readonly server: ServerInfo | undefined;
  /** Time at the API server, in ms since 1970. */
  readonly nowMs: number;
}

/** Lists what needs somebody, the most urgent first. */
export function listAttention(sources: AttentionSources): Attention[] {
  const { fleet, server } = sources;
  const items: Attention[] = [];
  for (const problem of server?.problems ?? []) items.push({ key: problem, level: 'problem', text: problem });
  if (server?.isInSelfPreservation) {
    const text = 'Self-preservation: many replicas fell silent at once, so they are kept as suspects.';
    items.push({ key: 'self-preservation', level: 'problem', text });
  }
  items.push(
    ...listLostOffers(fleet),
    ...listUnreadyOffers(fleet),
    ...listConflicts(sources),
    ...listRefusals(sources),
  );
  if (fleet.isWarming) {
    const text = 'The API server has just started, so replicas can still be missing.';
    items.push({ key: 'warming', level: 'notice', text });
  }
  return items;
}

function listLostOffers(fleet: LiveFleet): Attention[] {
  const items = fleet.listLostOffers().map(({ offer, replicaId, reason }): Attention => {
    const text = `Nobody offers ${formatOffer(offer)} any more. The last was ${replicaId}: ${reason}.`;
    return { key: `lost ${offer.key}`, level: 'problem', text, lostOffers: [offer.key] };
  });
  return limitItems(items, 'models have no replica any more');
}

function listUnreadyOffers(fleet: LiveFleet): Attention[] {
  const unready = fleet.totals.offers.filter(({ ready }) => ready === 0);
  const items = unready.map(({ offer, rows }): Attention => {
    const states = [...new Set([...rows].map(({ state }) => state))].join(', ');
    const text = `No replica of ${formatOffer(offer)} is ready: ${rows.size} registered (${states}).`;
    return { key: `unready ${offer.key}`, level: 'problem', text };
  });
  return limitItems(items, 'models have no ready replica');
}

function listConflicts({ log, nowMs }: AttentionSources): Attention[] {
  const ids = new Set(log.listSince('id_conflict', nowMs - RECENT_MS).map(({ replicaId = '' }) => replicaId));
  const items = [...ids].map((id): Attention => {
    const text = `The id ${id} keeps changing owner: are two processes registering it?`;
    return { key: `conflict ${id}`, level: 'problem', text };
  });
  return limitItems(items, 'ids keep changing owner');
}

function listRefusals({ log, nowMs }: AttentionSources): Attention[] {
  const refusals = log.listSince('registration_refused', nowMs - RECENT_MS);
  const [latest] = refusals;
  if (!latest) return [];
  const count = refusals.length === 1 ? 'A registration was' : `${refusals.length} registrations were`;
  const text = `${count} refused in the last 5 minutes: ${String(latest.members['reason'])}.`;
  return [{ key: 'refusals', level: 'notice', text }];
}

function limitItems(items: readonly Attention[], others: string): Attention[] {
  const [first] = items;
  const more = items.slice(MAX_ITEMS);
  if (more.length === 0 || !first) return [...items];
  const lostOffers = more.flatMap((item) => item.lostOffers ?? []);
  const summary: Attention = { key: others, level: first.level, text: `${more.length} more ${others}.` };
  return [...items.slice(0, MAX_ITEMS), lostOffers.length > 0 ? { ...summary, lostOffers } : summary];
}
