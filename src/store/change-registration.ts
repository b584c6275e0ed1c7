import { chooseNewerCordon } from '../core/cordon.js';
import type { Registration, RegistrationChange, Replica } from '../core/replica.js';

/**
 * Returns a registration after a change. Keeps a cordon that is newer than the one of the change. Names each field, so that
 * all registrations share one V8 object shape.
 */
export function changeRegistration<R extends Replica>(
  previous: Registration<R>,
  change: RegistrationChange<R> & Partial<Pick<Registration<R>, 'lease'>>,
): Registration<R> {
  return {
    lease: change.lease ?? previous.lease,
    owner: previous.owner,
    ownerUrl: previous.ownerUrl,
    instance: change.instance ?? previous.instance,
    replica: change.replica ?? previous.replica,
    state: change.state ?? previous.state,
    sinceEpochMs: change.sinceEpochMs ?? previous.sinceEpochMs,
    cordon: chooseNewerCordon(change.cordon, previous.cordon),
    weight: previous.weight,
  };
}
