import {
  type Listing,
  type Recording,
  readConnections,
  readKeeperRuns,
  readListings,
  readServerUptimes,
  type ServerEvent,
} from './recording.js';
import { formatSpan, formatTime, isLongerThan, type Span, uniteSpans } from './time-spans.js';

/** Minimum time between two changes of the process that has an id, in ms, once the processes have settled. */
const MIN_CHANGE_INTERVAL_MS = 30_000;

/** Maximum time for which servers name different processes during such a change, in ms. */
const MAX_CHANGE_MS = 10_000;

/** Tolerance for the order of events from different connections, in ms. */
const RECORDER_DELAY_MS = 1000;

/**
 * Finds registrations that an older registration of the same process replaced. Only the events of one connection are
 * compared, because a new connection can begin with a snapshot that is 2 s old.
 */
export function findOldRegistrations(recording: Recording): string[] {
  const faults: string[] = [];
  for (const { server, events } of readConnections(recording)) {
    const newest = new Map<string, number>();
    for (const event of events) {
      if (event.kind !== 'put' || !event.instance) continue;
      const { id, instance, epoch, atMs } = event;
      const key = JSON.stringify([id, instance.id]);
      const highest = newest.get(key) ?? 0;
      newest.set(key, Math.max(highest, instance.seq));
      if (instance.seq >= highest) continue;
      const what = `registration ${instance.seq} of ${id} by ${instance.id} follows number ${highest}`;
      faults.push(`${what} at ${server}, epoch ${epoch}, ${formatTime(atMs)}`);
    }
  }
  return faults;
}

/** Finds takeovers of an id by the process that already has it. */
export function findSelfTakeovers(recording: Recording): string[] {
  return readConnections(recording).flatMap(({ server, events }) =>
    [...groupById(events)].flatMap(([id, own]) => [
      ...findOwnReplacements(own).map(
        (atMs) => `${id} is superseded by its own process at ${server} ${formatTime(atMs)}`,
      ),
      ...findUnexplainedTakeovers(own).map((what) => `${id} at ${server}: ${what}`),
    ]),
  );
}

/** Returns the times at which a registration was removed as superseded, and the next one was by the same process. */
function findOwnReplacements(events: readonly ServerEvent[]): number[] {
  let holder: string | undefined;
  let removed: { readonly atMs: number; readonly instance: string | undefined } | undefined;
  const found: number[] = [];
  for (const event of events) {
    if (event.kind === 'removed' && event.reason === 'superseded') removed = { atMs: event.atMs, instance: holder };
    if (event.kind !== 'put') continue;
    holder = event.instance?.id;
    if (removed && removed.instance !== undefined && removed.instance === holder) found.push(removed.atMs);
    removed = undefined;
  }
  return found;
}

/**
 * Compares the takeovers that a server reported with the changes that its list shows. More reports than changes mean that a
 * process took the id from itself. Ids of registrants that show no instance are skipped.
 */
function findUnexplainedTakeovers(events: readonly ServerEvent[]): string[] {
  let holder: string | undefined;
  let changes = 0;
  const reports: number[] = [];
  for (const event of events) {
    if (event.kind === 'superseded') reports.push(event.atMs);
    if (event.kind === 'removed') holder = undefined;
    if (event.kind !== 'put') continue;
    if (!event.instance) return [];
    if (holder !== undefined && holder !== event.instance.id) changes++;
    holder = event.instance.id;
  }
  if (reports.length <= changes) return [];
  return [
    `${reports.length} takeovers, the last ${formatTime(reports.at(-1) ?? 0)}, and ${changes} changes of the process`,
  ];
}

function groupById(events: readonly ServerEvent[]): Map<string, ServerEvent[]> {
  const groups = new Map<string, ServerEvent[]>();
  for (const event of events) {
    const group = groups.get(event.id);
    if (group) group.push(event);
    else groups.set(event.id, [event]);
  }
  return groups;
}

/**
 * Finds ids of two or more running processes about which the servers don't agree from the time `quietAtMs` on: all servers
 * that are up name the same process, and another one at most every 30 s.
 */
export function findUnsettledIds(recording: Recording, quietAtMs: number): string[] {
  const runs = readKeeperRuns(recording).filter(({ fromMs, toMs }) => fromMs <= quietAtMs && toMs > quietAtMs);
  const ids = new Set(runs.map(({ id }) => id).filter((id, n, all) => all.indexOf(id) !== n));
  const uptimes = readServerUptimes(recording);
  const listings = readListings(recording);
  const after = { fromMs: quietAtMs, toMs: recording.endMs };
  return [...ids].flatMap((id) => {
    const listed = listings.get(id) ?? [];
    const disagreements = findDisagreements(listed, uptimes, after).map((span) => {
      return `servers list different processes of ${id} ${formatSpan(span)}`;
    });
    return [...disagreements, ...findFrequentChanges(listed, after).map((what) => `${id} ${what}`)];
  });
}

/** Finds the times when not all servers that are up name the same process: at the start, at the end, or for longer than a change takes. */
function findDisagreements(
  listed: readonly Listing[],
  uptimes: ReadonlyMap<string, readonly Span[]>,
  { fromMs, toMs }: Span,
): Span[] {
  const edges = [...listed, ...[...uptimes.values()].flat()].flatMap((span) => [span.fromMs, span.toMs]);
  const times = [...new Set([fromMs, ...edges.filter((edge) => edge > fromMs && edge < toMs), toMs])].sort(
    (a, b) => a - b,
  );
  const agreesAt = (atMs: number): boolean => {
    const up = [...uptimes].filter(([, spans]) => isIn(spans, atMs)).map(([server]) => server);
    const found = up.map((server) => listed.find((one) => one.server === server && isIn([one], atMs))?.instance?.id);
    return found.every((instance) => instance !== undefined && instance === found[0]);
  };
  const spans = times.slice(0, -1).map((time, n) => ({ fromMs: time, toMs: times[n + 1] ?? toMs }));
  return uniteSpans(spans.filter((span) => !agreesAt(span.fromMs))).filter((span) => {
    const isChange = span.fromMs > fromMs && span.toMs < toMs;
    return isLongerThan(isChange ? MAX_CHANGE_MS : RECORDER_DELAY_MS)(span);
  });
}

function isIn(spans: readonly Span[], atMs: number): boolean {
  return spans.some(({ fromMs, toMs }) => fromMs <= atMs && atMs < toMs);
}

/** Finds two changes of the process at one server that follow each other too soon. */
function findFrequentChanges(listed: readonly Listing[], { fromMs }: Span): string[] {
  return [...new Set(listed.map(({ server }) => server))].flatMap((server) => {
    const own = listed.filter((listing) => listing.server === server).sort((a, b) => a.fromMs - b.fromMs);
    const changes = own.filter((listing, n) => {
      const previous = own[n - 1]?.instance?.id;
      return listing.fromMs > fromMs && previous !== undefined && listing.instance?.id !== previous;
    });
    return changes.flatMap((change, n) => {
      const previous = changes[n - 1];
      if (!previous || change.fromMs - previous.fromMs >= MIN_CHANGE_INTERVAL_MS) return [];
      return [`changes twice at ${server}: ${formatTime(previous.fromMs)} and ${formatTime(change.fromMs)}`];
    });
  });
}
