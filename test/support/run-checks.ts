import {
  type Listing,
  type Recording,
  readKeeperRuns,
  readListings,
  readServerUptimes,
  readTableConnections,
} from './recording.js';
import {
  coversSpan,
  formatSpan,
  formatTime,
  intersectSpans,
  isLongerThan,
  type Span,
  subtractSpans,
} from './time-spans.js';

/** Documented time after which a server lists a replica: from the start of the server or of the keeper, whichever is later. */
const LISTED_WITHIN_MS = 10_000;

/** Maximum time for which all servers can seem to miss a replica, in ms. Servers send a change up to 50 ms late. */
const MAX_ABSENCE_MS = 100;

/** Tolerance for the order of events from different connections, in ms. */
const RECORDER_DELAY_MS = 1000;

/** States in which a server returns a replica to callers. */
const ROUTABLE_STATES = new Set(['ready', 'suspect']);

/** A time in which a server and the keeper of a replica ran, and the server did not list the replica as ready. */
interface Omission extends Span {
  readonly id: string;
  readonly server: string;
}

/**
 * Finds replicas that a server should list and doesn't. Each server that is up lists each replica whose keeper runs as ready
 * within the limit, and never omits it for longer. After its first registration, a replica is routable at one server or more
 * whenever a server has been up for longer than the limit.
 */
export function findMissingReplicas(recording: Recording, limitMs = LISTED_WITHIN_MS): string[] {
  const omissions = listOmissions(recording).filter(isLongerThan(limitMs));
  return [
    ...omissions.map((omission) => `${omission.id} is not ready at ${omission.server} ${formatSpan(omission)}`),
    ...findAbsences(recording, limitMs),
  ];
}

/** Returns the longest time for which a server that was up omitted a replica whose keeper ran, in ms. */
export function measureLongestOmission(recording: Recording): number {
  return listOmissions(recording).reduce((longest, { fromMs, toMs }) => Math.max(longest, toMs - fromMs), 0);
}

function listOmissions(recording: Recording): Omission[] {
  const uptimes = readServerUptimes(recording);
  const listings = readListings(recording);
  return readKeeperRuns(recording).flatMap((run) =>
    [...uptimes].flatMap(([server, up]) => {
      const listed = listings.get(run.id) ?? [];
      const ready = listed.filter(isAt(server)).filter(({ state }) => state === 'ready');
      const missing = subtractSpans(intersectSpans([run], up), ready);
      return missing.map((span) => ({ ...span, id: run.id, server }));
    }),
  );
}

/** Finds the times after its first registration at which no server lists a replica, although one should. */
function findAbsences(recording: Recording, limitMs: number): string[] {
  const uptimes = readServerUptimes(recording);
  const listings = readListings(recording);
  const due = [...uptimes.values()].flat().map(({ fromMs, toMs }) => ({ fromMs: fromMs + limitMs, toMs }));
  return readKeeperRuns(recording).flatMap((run) => {
    const listed = listings.get(run.id) ?? [];
    const routable = listed.filter(({ state }) => ROUTABLE_STATES.has(state));
    const served = [...uptimes].flatMap(([server, up]) => intersectSpans(routable.filter(isAt(server)), up));
    const registrations = listed.map(({ fromMs }) => fromMs).filter((fromMs) => fromMs >= run.fromMs);
    const registered = { fromMs: Math.min(run.toMs, ...registrations), toMs: run.toMs };
    return subtractSpans(intersectSpans([registered], due), served)
      .filter(isLongerThan(MAX_ABSENCE_MS))
      .map((gap) => `${run.id} is at no server ${formatSpan(gap)}`);
  });
}

function isAt(server: string): (listing: Listing) => boolean {
  return (listing) => listing.server === server;
}

/**
 * Finds entries that the client's table should have kept. It removes no entry that a server lists to which it is connected,
 * and is not empty while the keeper of a replica runs that it has contained.
 */
export function findLostTableEntries(recording: Recording): string[] {
  const connections = readTableConnections(recording);
  const listings = readListings(recording);
  const runs = readKeeperRuns(recording);
  const present = new Set<string>();
  const seen = new Set<string>();
  const faults: string[] = [];
  for (const event of recording.events) {
    if (event.kind === 'table-added') {
      present.add(event.id);
      seen.add(event.id);
    }
    if (event.kind !== 'table-removed') continue;
    const { id, atMs } = event;
    present.delete(id);
    const around = { fromMs: atMs - RECORDER_DELAY_MS, toMs: Math.min(atMs + RECORDER_DELAY_MS, recording.endMs) };
    for (const [server, connected] of connections) {
      const listed = (listings.get(id) ?? []).filter(isAt(server));
      // A feed that has just connected has not received the whole list.
      if (!coversSpan(connected, { fromMs: around.fromMs, toMs: atMs }) || !coversSpan(listed, around)) continue;
      faults.push(`the table loses ${id} ${formatTime(atMs)} although ${server} lists it`);
    }
    const isAlive = runs.some((run) => seen.has(run.id) && coversSpan([run], around));
    if (present.size === 0 && isAlive) faults.push(`the table is empty ${formatTime(atMs)} although keepers run`);
  }
  return faults;
}
