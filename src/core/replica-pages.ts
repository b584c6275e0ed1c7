import type { ReplicaId } from './ids.js';
import type { Registration } from './replica.js';

/** An immutable snapshot of a part of the list, in order. */
export interface ReplicaPage {
  /** The same array as in the previous snapshot if no registration of the page changed. */
  readonly registrations: readonly Registration[];
  /**
   * Key for a WeakMap of data derived from the page, such as its serialized form. It stays the same object while only a few
   * registrations change, so that the derived data of one snapshot can be reused for the next.
   */
  readonly cacheKey: object;
}

/** Maximum number of registrations of a page. Large enough to have few pages, small enough to rebuild one quickly. */
const PAGE_SIZE = 128;

/**
 * Number of changes without a snapshot after which a page gets a new cache key. The data cached under the old key would keep
 * registrations that have left in memory.
 */
const MAX_UNLISTED_CHANGES = PAGE_SIZE / 8;

/** A mutable page in a doubly linked list. */
interface Page {
  readonly members: Map<ReplicaId, Registration>;
  /** The current snapshot; undefined if the members changed after the last one. */
  snapshot: ReplicaPage | undefined;
  cacheKey: object;
  /** Number of changes after the last snapshot. */
  unlistedChanges: number;
  previous: Page | undefined;
  next: Page | undefined;
}

/**
 * Registrations by replica id, in the order in which the ids were first registered, in pages. When one of 100,000 registrations
 * changes, only 1 of 800 pages is rebuilt.
 */
export class ReplicaPages {
  readonly #pageOf = new Map<ReplicaId, Page>();
  #first: Page | undefined;
  #last: Page | undefined;

  get size(): number {
    return this.#pageOf.size;
  }

  get(id: ReplicaId): Registration | undefined {
    return this.#pageOf.get(id)?.members.get(id);
  }

  /** Replaces the registration with the same replica id, or appends the registration. */
  put(registration: Registration): void {
    const { id } = registration.replica;
    const page = this.#pageOf.get(id) ?? this.#getPageWithRoom();
    this.#pageOf.set(id, page);
    page.members.set(id, registration);
    markChanged(page);
  }

  delete(id: ReplicaId): void {
    const page = this.#pageOf.get(id);
    if (!page) return;
    this.#pageOf.delete(id);
    page.members.delete(id);
    markChanged(page);
    if (page.members.size === 0) this.#remove(page);
    else if (!this.#merge(page.previous, page)) this.#merge(page, page.next);
  }

  /** Returns all registrations in order. */
  *all(): Iterable<Registration> {
    for (let page = this.#first; page; page = page.next) yield* page.members.values();
  }

  /** Returns snapshots of all pages in order. Rebuilds only those that changed after the last call. */
  pages(): ReplicaPage[] {
    const pages: ReplicaPage[] = [];
    for (let page = this.#first; page; page = page.next) {
      page.snapshot ??= { registrations: [...page.members.values()], cacheKey: page.cacheKey };
      page.unlistedChanges = 0;
      pages.push(page.snapshot);
    }
    return pages;
  }

  /** Returns the last page, or a new one if that is full. */
  #getPageWithRoom(): Page {
    const last = this.#last;
    if (last && last.members.size < PAGE_SIZE) return last;
    const page: Page = {
      members: new Map(),
      snapshot: undefined,
      cacheKey: {},
      unlistedChanges: 0,
      previous: last,
      next: undefined,
    };
    if (last) last.next = page;
    else this.#first = page;
    this.#last = page;
    return page;
  }

  /** Moves the members of the next page into a page if both are sparse. Returns whether it did. */
  #merge(page: Page | undefined, next: Page | undefined): boolean {
    if (!page || !next || page.members.size + next.members.size > PAGE_SIZE / 2) return false;
    for (const [id, registration] of next.members) {
      page.members.set(id, registration);
      this.#pageOf.set(id, page);
    }
    next.members.clear();
    markChanged(page);
    this.#remove(next);
    return true;
  }

  #remove({ previous, next }: Page): void {
    if (previous) previous.next = next;
    else this.#first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
  }
}

/** Marks the snapshot of a page as outdated. */
function markChanged(page: Page): void {
  page.snapshot = undefined;
  if (++page.unlistedChanges === MAX_UNLISTED_CHANGES) page.cacheKey = {};
}
