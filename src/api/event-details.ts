import { formatSeconds } from '../core/durations.js';
import type { ReceivedEvent } from './event-json.js';

type Members = ReceivedEvent['members'];

/** Members that have a column, or are the same for each kind. */
const COMMON_MEMBERS: ReadonlySet<string> = new Set(['seq', 'at', 'kind', 'replica_id']);

/** Maximum length of the details of an event of an unknown kind, in UTF-16 units. */
const MAX_UNKNOWN_DETAILS = 500;

/** The details of each kind of event, in words. */
const DETAILS: Readonly<Record<string, (members: Members) => readonly (string | undefined)[]>> = {
  registered: ({ endpoint }) => [`at ${toText(endpoint)}`],
  state_changed: ({ state }) => [toText(state)],
  capabilities_changed: ({ count }) => [`offers ${toText(count)} capability objects`],
  removed: ({ reason, host, lived_ms: livedMs, silent_ms: silentMs }) => [
    toText(reason ?? 'unknown reason'),
    ...formatHost(host),
    ...formatTime('lived ', livedMs),
    ...formatTime('last seen ', silentMs, ' before'),
  ],
  suspected: ({ reason, host }) => [toText(reason), ...formatHost(host)],
  suspicion_ended: ({ state, host, silent_ms: silentMs }) => [
    `${toText(state)} again`,
    ...formatTime('after ', silentMs, ' of silence'),
    ...formatHost(host),
  ],
  renewed_late: ({ host, late_ms: lateMs }) => [...formatTime('', lateMs, ' late'), ...formatHost(host)],
  cordoned: ({ reason }) => [toText(reason)],
  uncordoned: () => [],
  id_conflict: () => ['it keeps changing owner: are two processes registering it?'],
  registration_refused: ({ reason, code, host }) => [`${toText(reason)} (${toText(code)})`, ...formatHost(host)],
  self_preservation_entered: () => ['many replicas fell silent at once; they are kept as suspects'],
  self_preservation_left: () => ['replicas that fall silent are removed again'],
};

/** Describes an event in words, without its kind and its replica. Lists the members of a kind that newer servers add. */
export function formatEventDetails({ kind, members }: ReceivedEvent): string {
  const format = Object.hasOwn(DETAILS, kind) ? DETAILS[kind] : undefined;
  if (format) return format(members).filter(Boolean).join(', ');
  const others = Object.entries(members).filter(([name]) => !COMMON_MEMBERS.has(name));
  const text = others.map(([name, value]) => `${name}=${toText(value)}`).join(' ');
  return text.slice(0, MAX_UNKNOWN_DETAILS);
}

function formatHost(host: unknown): string[] {
  return host === undefined ? [] : [`host ${toText(host)}`];
}

function formatTime(before: string, ms: unknown, after = ''): string[] {
  return typeof ms === 'number' ? [`${before}${formatSeconds(ms)}${after}`] : [];
}

function toText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
