import { formatRenewedEvent, NOT_RENEWED_EVENT, RENEWED_EVENT } from '../api/lease-events.js';
import { parseRenewal, type RenewalReport, replaceCapabilities } from '../api/lease-renewal.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import type { LeaseId } from '../core/ids.js';
import type { RenewalResult } from '../core/lease-renewals.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { reportListValues } from './list-value-warning.js';

/** The parts of a registry that a renewal needs. */
export type RenewingRegistry = Pick<RegistryAccess<SerializedReplica>, 'renew' | 'cordons' | 'loads'>;

/** Renews a lease, and applies what the replica reports. */
export async function renewLease(
  registry: RenewingRegistry,
  lease: LeaseId,
  { state, capabilities, seq, cordon, load }: RenewalReport,
  events: Events<ServerEvent>,
): Promise<RenewalResult> {
  const offer =
    capabilities &&
    ((current: SerializedReplica): SerializedReplica => {
      reportListValues({ id: current.id, capabilities }, events);
      return replaceCapabilities(current, capabilities);
    });
  if (cordon) await registry.cordons.adopt(lease, cordon);
  const renewal = await registry.renew(lease, state, offer, seq);
  if (load && renewal === 'renewed') registry.loads.record(lease, load);
  return renewal;
}

/** Handles a renewal on the stream of its lease. Resolves to the event that responds to it. */
export async function renewByLine(
  registry: RenewingRegistry,
  lease: LeaseId,
  line: string,
  events: Events<ServerEvent>,
): Promise<string> {
  const outcome = parseRenewal(line);
  if (outcome.kind === 'invalid') return NOT_RENEWED_EVENT;
  if ((await renewLease(registry, lease, outcome, events)) !== 'renewed') return NOT_RENEWED_EVENT;
  const cordon = registry.cordons.findByLease(lease);
  return cordon ? formatRenewedEvent(cordon) : RENEWED_EVENT;
}
