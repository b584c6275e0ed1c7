import { type CapabilityQuery, matches } from './capability.js';
import type { ReplicaId } from './ids.js';
import type { Registration } from './replica.js';

/** The registrations by replica id, and which of them match a query. One writer: the registry's `apply`. */
export interface CapabilityIndex {
  get(id: ReplicaId): Registration | undefined;
  /** Puts a registration under its replica's id. An id that is held already keeps its place in the order. */
  put(registration: Registration): void;
  delete(id: ReplicaId): void;
  /** Those with a capability object that holds every pair of the query, in the order of registration. */
  match(query: CapabilityQuery): Registration[];
  /** All, in the order of registration. */
  all(): Iterable<Registration>;
}

/** The plain index: looks at every registration for every query. */
export function createCapabilityIndex(): CapabilityIndex {
  const registrations = new Map<ReplicaId, Registration>();
  return {
    get: (id) => registrations.get(id),
    put: (registration) => void registrations.set(registration.replica.id, registration),
    delete: (id) => void registrations.delete(id),
    match: (query) =>
      [...registrations.values()].filter((registration) => matches(query, registration.replica.capabilities)),
    all: () => registrations.values(),
  };
}
