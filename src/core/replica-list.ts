import type { ReplicaId } from './ids.js';
import type { SearchResult } from './index/capability-index.js';
import type { PreparedFilter } from './index/prepared-filter.js';
import type { PreparedQuery } from './index/prepared-query.js';
import type { Random } from './ports.js';
import { getOtherProtocol, getProtocol, type Protocol } from './protocol.js';
import type { Registration, Replica } from './replica.js';
import { type ReplicaPage, ReplicaPages } from './replica-pages.js';
import { RoutableReplicas } from './routable-replicas.js';

/**
 * All registrations in the order in which their replicas first registered, with indexes to choose one for a query. Each protocol
 * has its own indexes. So a caller that asks for one is served as fast as if there were no other, and a fleet with one protocol
 * pays nothing for the other.
 */
export class ReplicaList<R extends Replica = Replica> {
  readonly #all = new ReplicaPages<R>();
  readonly #routable: Readonly<Record<Protocol, RoutableReplicas<R>>>;

  constructor(random: Random) {
    this.#routable = { grpc: new RoutableReplicas(random), http: new RoutableReplicas(random) };
  }

  get size(): number {
    return this.#all.size;
  }

  get(id: ReplicaId): Registration<R> | undefined {
    return this.#all.get(id);
  }

  /** Adds a registration, or replaces the one with the same replica id, whose endpoint can have the other protocol. */
  put(registration: Registration<R>): void {
    const { id, endpoint } = registration.replica;
    const protocol = getProtocol(endpoint);
    this.#all.put(registration);
    this.#routable[protocol].put(registration);
    this.#routable[getOtherProtocol(protocol)].delete(id);
  }

  delete(id: ReplicaId): void {
    this.#all.delete(id);
    this.#routable.grpc.delete(id);
    this.#routable.http.delete(id);
  }

  /**
   * Chooses a match of a protocol as {@link RoutableReplicas.choose} does. Without a protocol, chooses one with a URL only if no
   * other replica matches at all: such callers expect `host:port`.
   */
  choose(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): Registration<R> | undefined {
    const found = this.#routable[protocol ?? 'grpc'].choose(query, excluded);
    return found ?? (protocol === undefined ? this.#routable.http.choose(query, excluded) : undefined);
  }

  /** Chooses a match of the first of these filters that has one. Protocols count as in {@link choose}. */
  search(filters: readonly PreparedFilter[], excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): SearchResult<R> {
    const result = this.#routable[protocol ?? 'grpc'].search(filters, excluded);
    return result.kind === 'none' && protocol === undefined ? this.#routable.http.search(filters, excluded) : result;
  }

  /** Returns all registrations in order. */
  all(): Iterable<Registration<R>> {
    return this.#all.all();
  }

  /** Returns all registrations as immutable pages. */
  pages(): ReplicaPage<R>[] {
    return this.#all.pages();
  }
}
