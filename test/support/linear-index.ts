import { type CapabilityQuery, matches } from '../../src/core/capability.js';
import type { ReplicaId } from '../../src/core/ids.js';
import type { CapabilityIndex } from '../../src/core/index/capability-index.js';
import type { Registration } from '../../src/core/replica.js';

/** Creates the reference index for property tests: it compares each registration with each query. */
export function createLinearIndex(): Pick<CapabilityIndex, 'put' | 'delete' | 'choose'> & {
  match(query: CapabilityQuery): Registration[];
} {
  const registrations = new Map<ReplicaId, Registration>();
  const match = (query: CapabilityQuery): Registration[] =>
    [...registrations.values()].filter(({ replica }) => matches(query, replica.capabilities));
  return {
    match,
    put: (registration) => void registrations.set(registration.replica.id, registration),
    delete: (id) => void registrations.delete(id),
    choose(query, excluded, random) {
      const left = match(query.pairs).filter(({ replica }) => !excluded.has(replica.id));
      return left[Math.floor(random.fraction() * left.length)];
    },
  };
}
