import type { RegistryEvent, ServerEvent } from './ports.js';
import { NO_LONGER_MATCHES } from './registry-changes.js';
import type { Replica } from './replica.js';
import type { Scope } from './scope.js';
import type { ScopedList } from './scoped-list.js';

/**
 * Returns an event of the registry as it is in a scope; undefined if it is about nothing in it. To be called for each event when it
 * is emitted: the list then has the change that the event reports.
 */
export function selectEvent<R extends Replica>(
  event: RegistryEvent | ServerEvent,
  { scope, list }: { readonly scope: Scope; readonly list: ScopedList<R> },
): RegistryEvent | undefined {
  const { before, after, hasOtherOffer } = list.lastChange;
  switch (event.kind) {
    case 'registered':
      return after && event;
    case 'removed':
      return before && event;
    case 'capabilities_changed': {
      const { replicaId } = event;
      if (before && after) return hasOtherOffer ? { ...event, count: after.capabilities.length } : undefined;
      if (after) return { kind: 'registered', replicaId, endpoint: after.endpoint };
      return before && { kind: 'removed', replicaId, reason: NO_LONGER_MATCHES, lease: undefined };
    }
    case 'registration_refused':
      return event.scope?.key === scope.key ? event : undefined;
    case 'state_changed':
    case 'cordoned':
    case 'uncordoned':
    case 'suspected':
    case 'suspicion_ended':
    case 'renewed_late':
    case 'id_conflict':
      return list.replicas.get(event.replicaId) && event;
    default:
      return undefined;
  }
}
