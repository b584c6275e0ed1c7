import type { ReplicaId } from './ids.js';
import { CapabilityIndex } from './index/capability-index.js';
import type { PreparedQuery } from './index/prepared-query.js';
import type { Random } from './ports.js';
import type { Registration } from './replica.js';
import { type ReplicaPage, ReplicaPages } from './replica-pages.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** The registrations in the order in which their replicas first came, and which of them answers a query. */
export class ReplicaList {
  readonly #all = new ReplicaPages();
  readonly #ready = new CapabilityIndex();
  readonly #suspect = new CapabilityIndex();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  get size(): number {
    return this.#all.size;
  }

  get(id: ReplicaId): Registration | undefined {
    return this.#all.get(id);
  }

  /** Puts a registration in the place of the one that its replica has, and into the index of its state alone. */
  put(registration: Registration): void {
    const { replica, state } = registration;
    this.#all.put(registration);
    if (state === 'ready') this.#ready.put(registration);
    else this.#ready.delete(replica.id);
    if (state === 'suspect') this.#suspect.put(registration);
    else this.#suspect.delete(replica.id);
  }

  delete(id: ReplicaId): void {
    this.#all.delete(id);
    this.#ready.delete(id);
    this.#suspect.delete(id);
  }

  /**
   * One that matches, each as likely as the others: of the ready ones, else of the suspects. The excluded are left out,
   * unless nobody else matches: one of them is better than none to whoever saw them all fail.
   */
  choose(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>): Registration | undefined {
    const found = this.#chooseBut(excluded, query);
    return found ?? (excluded.size > 0 ? this.#chooseBut(NOBODY, query) : undefined);
  }

  #chooseBut(excluded: ReadonlySet<ReplicaId>, query: PreparedQuery): Registration | undefined {
    return this.#ready.choose(query, excluded, this.#random) ?? this.#suspect.choose(query, excluded, this.#random);
  }

  /** All of them, in order. */
  all(): Iterable<Registration> {
    return this.#all.all();
  }

  /** All of them, in pages that are never changed. */
  pages(): ReplicaPage[] {
    return this.#all.pages();
  }
}
