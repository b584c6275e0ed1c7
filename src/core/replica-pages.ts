import type { ReplicaId } from './ids.js';
import type { Registration, Replica } from './replica.js';

/** An immutable snapshot of a part of the list, in order. */
export interface ReplicaPage<R extends Replica = Replica> {
  /** Number of the page. A later snapshot of the same page has the same one. */
  readonly id: number;
  readonly registrations: readonly Registration<R>[];
  /**
   * Revision of each registration: the number of the change that put it in the list. No two registrations of a list have
   * the same one. The same array as in the previous snapshot if no registration of the page changed.
   */
  readonly revisions: readonly number[];
}

/** Maximum number of registrations of a page. Large enough to have few pages, small enough to rebuild one quickly. */
const PAGE_SIZE = 128;

/** A mutable page in a doubly linked list. */
interface Page<R extends Replica> {
  readonly id: number;
  readonly members: Map<ReplicaId, Registration<R>>;
  /** The revisions of the members, in the same order. */
  readonly revisions: Map<ReplicaId, number>;
  /** The current snapshot; undefined if the members changed after the last one. */
  snapshot: ReplicaPage<R> | undefined;
  previous: Page<R> | undefined;
  next: Page<R> | undefined;
}

/**
 * Registrations by replica id, in the order in which the ids were first registered, in pages. When one of 100,000 registrations
 * changes, only 1 of 800 pages is rebuilt.
 */
export class ReplicaPages<R extends Replica = Replica> {
  readonly #pageOf = new Map<ReplicaId, Page<R>>();
  #first: Page<R> | undefined;
  #last: Page<R> | undefined;
  #pageCount = 0;
  #lastRevision = 0;

  get size(): number {
    return this.#pageOf.size;
  }

  get(id: ReplicaId): Registration<R> | undefined {
    return this.#pageOf.get(id)?.members.get(id);
  }

  /** Replaces the registration with the same replica id, or appends the registration. */
  put(registration: Registration<R>): void {
    const { id } = registration.replica;
    const page = this.#pageOf.get(id) ?? this.#getPageWithRoom();
    this.#pageOf.set(id, page);
    page.members.set(id, registration);
    page.revisions.set(id, ++this.#lastRevision);
    page.snapshot = undefined;
  }

  delete(id: ReplicaId): void {
    const page = this.#pageOf.get(id);
    if (!page) return;
    this.#pageOf.delete(id);
    page.members.delete(id);
    page.revisions.delete(id);
    page.snapshot = undefined;
    if (page.members.size === 0) this.#remove(page);
    else if (!this.#merge(page.previous, page)) this.#merge(page, page.next);
  }

  /** Returns all registrations in order. */
  *all(): Iterable<Registration<R>> {
    for (let page = this.#first; page; page = page.next) yield* page.members.values();
  }

  /** Returns snapshots of all pages in order. Rebuilds only those that changed after the last call. */
  pages(): ReplicaPage<R>[] {
    const pages: ReplicaPage<R>[] = [];
    for (let page = this.#first; page; page = page.next) {
      page.snapshot ??= {
        id: page.id,
        registrations: [...page.members.values()],
        revisions: [...page.revisions.values()],
      };
      pages.push(page.snapshot);
    }
    return pages;
  }

  /** Returns the last page, or a new one if that is full. */
  #getPageWithRoom(): Page<R> {
    const last = this.#last;
    if (last && last.members.size < PAGE_SIZE) return last;
    const page: Page<R> = {
      id: ++this.#pageCount,
      members: new Map(),
      revisions: new Map(),
      snapshot: undefined,
      previous: last,
      next: undefined,
    };
    if (last) last.next = page;
    else this.#first = page;
    this.#last = page;
    return page;
  }

  /** Moves the members of the next page into a page if both are sparse. Returns whether it did. */
  #merge(page: Page<R> | undefined, next: Page<R> | undefined): boolean {
    if (!page || !next || page.members.size + next.members.size > PAGE_SIZE / 2) return false;
    for (const [id, registration] of next.members) {
      page.members.set(id, registration);
      page.revisions.set(id, next.revisions.get(id) as number);
      this.#pageOf.set(id, page);
    }
    next.members.clear();
    page.snapshot = undefined;
    this.#remove(next);
    return true;
  }

  #remove({ previous, next }: Page<R>): void {
    if (previous) previous.next = next;
    else this.#first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
  }
}
