import { formatSeconds } from '../core/durations.js';
import type { CallEvent, Clock, EndedLease, Log, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Subscriber } from './event-bus.js';
import { LineLimits } from './line-limits.js';
import { toLogDetails } from './log-details.js';

/** A line for the log. */
interface Line {
  readonly level: 'info' | 'warn';
  readonly text: string;
}

/**
 * Returns a subscriber that writes one line for each event of the registry and the server, within limits for those that
 * strangers or a single replica can cause again and again. Calls are not logged.
 */
export function logEvents(
  log: Log,
  clock: Pick<Clock, 'nowMs' | 'schedule'>,
): Subscriber<RegistryEvent | ServerEvent | CallEvent> {
  const limits = new LineLimits(log, clock);
  return (event) => {
    if (event.kind === 'attempt_started' || event.kind === 'attempt_ended') return;
    const { level, text } = isServerEvent(event) ? formatServerEvent(event) : formatRegistryEvent(event);
    const kind = getLimitedKind(event);
    (kind === undefined ? log : limits.getLog(kind))[level](text, toLogDetails(event));
  };
}

/** Returns the kind for the limit of an event's lines. Undefined for events whose lines must all be in the log. */
function getLimitedKind(event: RegistryEvent | ServerEvent): string | undefined {
  switch (event.kind) {
    // Operators follow a fleet by these. Each needs a lease that was granted, or happens once.
    case 'registered':
    case 'removed':
    case 'self_preservation_entered':
    case 'self_preservation_left':
    case 'dead_peer_detection_unavailable':
    case 'registration_unprotected':
    case 'drain_started':
    case 'drain_ended':
      return undefined;
    // One replica can change back and forth, and must not hide the changes of the others.
    case 'state_changed':
    case 'capabilities_changed':
    case 'cordoned':
    case 'uncordoned':
    case 'suspected':
    case 'suspicion_ended':
    case 'renewed_late':
      return `${event.kind} ${event.replicaId}`;
    // Requests with a wrong token must not hide that the registry is full.
    case 'registration_refused':
      return `${event.kind} ${event.code}`;
    default:
      return event.kind;
  }
}

const SERVER_EVENTS: Readonly<Record<ServerEvent['kind'], true>> = {
  list_value_offered: true,
  unreachable_endpoint: true,
  release_failed: true,
  dead_peer_detection_unavailable: true,
  dead_peer_detection_failed: true,
  forwarding_failed: true,
  request_failed: true,
  registration_unprotected: true,
  drain_started: true,
  drain_ended: true,
};

function isServerEvent(event: RegistryEvent | ServerEvent): event is ServerEvent {
  return Object.hasOwn(SERVER_EVENTS, event.kind);
}

function formatRegistryEvent(event: RegistryEvent): Line {
  switch (event.kind) {
    case 'registered':
      return info(`registered ${quoteId(event.replicaId)} at ${event.endpoint}`);
    case 'state_changed':
      return info(`${quoteId(event.replicaId)} is ${event.state}`);
    case 'capabilities_changed':
      return info(`${quoteId(event.replicaId)} now offers ${event.count} capability objects`);
    case 'cordoned':
      return info(`cordoned ${quoteId(event.replicaId)}${event.reason === '' ? '' : `: ${event.reason}`}`);
    case 'uncordoned':
      return info(`uncordoned ${quoteId(event.replicaId)}`);
    case 'removed':
      return info(
        `removed ${quoteId(event.replicaId)}: ${event.reason ?? 'unknown reason'}${formatLease(event.lease)}`,
      );
    case 'suspected':
      return info(`${quoteId(event.replicaId)} is suspect: ${event.reason} (host ${event.host})`);
    case 'suspicion_ended':
      return info(
        `${quoteId(event.replicaId)} is ${event.state} again after ${formatSeconds(event.silentMs)} of silence`,
      );
    case 'renewed_late':
      return info(`${quoteId(event.replicaId)} renewed its lease ${formatSeconds(event.lateMs)} after its TTL`);
    case 'id_conflict':
      return warn(
        `replica id ${quoteId(event.replicaId)} keeps changing owner: are two processes registering it? ` +
          'Give each process its own id.',
      );
    case 'registration_refused': {
      const id = event.replicaId === undefined ? '' : ` of ${quoteId(event.replicaId)}`;
      return warn(`refused a registration${id} from ${event.host}: ${event.reason} (${event.code})`);
    }
    case 'self_preservation_entered':
      return warn(
        'self-preservation: most hosts fell silent, or this process was paused; silent replicas are kept as suspects',
      );
    case 'self_preservation_left':
      return info('self-preservation ended: replicas that fall silent are removed again');
    case 'store_failed':
      return warn(`the registration store failed: ${event.error}`);
    case 'store_degraded':
      return warn(`the registration store: ${event.problem}`);
    case 'store_recovered':
      return info('the registration store works again');
    default:
      return event satisfies never;
  }
}

function formatServerEvent(event: ServerEvent): Line {
  switch (event.kind) {
    case 'list_value_offered':
      return warn(
        `${quoteId(event.replicaId)} offers ${event.capability}: a list as a value never matches a query; ` +
          'register one capability object for each value of the list',
      );
    case 'unreachable_endpoint':
      return warn(
        `${event.host} registers ${quoteId(event.replicaId)} at ${JSON.stringify(event.endpoint)}: ${event.reason}`,
      );
    case 'release_failed':
      return warn(`cannot remove ${quoteId(event.replicaId)}: ${event.error}`);
    case 'dead_peer_detection_unavailable':
      return info(
        `cannot inspect TCP connections (${event.error}): a replica whose host vanishes stays registered until its TTL expires, ` +
          'or without a TTL until TCP times out, after 15 minutes or more',
      );
    case 'dead_peer_detection_failed':
      return warn(`cannot inspect TCP connections, will try again: ${event.error}`);
    case 'forwarding_failed':
      return warn(`cannot forward renewals to the API server ${event.owner}: ${event.error}`);
    case 'request_failed':
      return warn(`${event.method} ${event.target} failed: ${event.error}`);
    case 'registration_unprotected':
      return warn(
        `anyone who can reach ${event.host} can register replicas: require a token with --register-token-file`,
      );
    case 'drain_started':
      return info(`draining: ending ${formatLeases(event.leases)} over ${formatSeconds(event.durationMs)}`);
    case 'drain_ended':
      return info(`drained: ended ${event.ended} of ${formatLeases(event.leases)}`);
    default:
      return event satisfies never;
  }
}

function formatLease(lease: EndedLease | undefined): string {
  if (!lease) return '';
  const { host, livedMs, silentMs } = lease;
  return ` (host ${host}, lived ${formatSeconds(livedMs)}, last seen ${formatSeconds(silentMs)} before)`;
}

function quoteId(id: string): string {
  return JSON.stringify(id);
}

function info(text: string): Line {
  return { level: 'info', text };
}

function warn(text: string): Line {
  return { level: 'warn', text };
}

function formatLeases(count: number): string {
  return count === 1 ? '1 lease' : `${count} leases`;
}
