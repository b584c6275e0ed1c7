import type { ReplicaId } from './ids.js';
import type { Registration, Replica } from './replica.js';

/** An immutable snapshot of a part of the list, in order. */
export interface ReplicaPage<R extends Replica = Replica> {
  /** Number of the page. A later snapshot of the same page has the same one. */
  readonly id: number;
  readonly registrations: readonly Registration<R>[];
  /**
   * Revision of each registration: the number of the change that put it in the list. Revisions are unique within a list. If
   * no registration of the page has changed, this is the array of the previous snapshot.
   */
  readonly revisions: readonly number[];
}

/** Maximum number of registrations of a page. Large enough to have few pages, small enough to rebuild one quickly. */
const PAGE_SIZE = 128;

/** A mutable page in a doubly linked list. */
interface Page<R extends Replica> {
  readonly id: number;
  /** Index of each member in the two arrays, ascending. */
  readonly places: Map<ReplicaId, number>;
  /** The members; undefined where one was deleted. An array, because copying it for a snapshot is faster than copying a Map. */
  readonly registrations: (Registration<R> | undefined)[];
  readonly revisions: number[];
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
    const page = this.#pageOf.get(id);
    return page?.registrations[page.places.get(id) as number];
  }

  /** Replaces the registration with the same replica id, or appends the registration. */
  put(registration: Registration<R>): void {
    const { id } = registration.replica;
    const page = this.#pageOf.get(id) ?? this.#getPageWithRoom();
    const place = page.places.get(id);
    const revision = ++this.#lastRevision;
    if (place === undefined) this.#append(page, id, registration, revision);
    else {
      page.registrations[place] = registration;
      page.revisions[place] = revision;
      page.snapshot = undefined;
    }
  }

  delete(id: ReplicaId): void {
    const page = this.#pageOf.get(id);
    if (!page) return;
    this.#pageOf.delete(id);
    page.registrations[page.places.get(id) as number] = undefined;
    page.places.delete(id);
    page.snapshot = undefined;
    if (page.places.size === 0) this.#remove(page);
    else if (!this.#merge(page.previous, page)) this.#merge(page, page.next);
  }

  /** Returns all registrations in order. */
  *all(): Iterable<Registration<R>> {
    for (let page = this.#first; page; page = page.next) {
      for (const registration of page.registrations) if (registration) yield registration;
    }
  }

  /** Returns snapshots of all pages in order. Rebuilds only those that changed after the last call. */
  pages(): ReplicaPage<R>[] {
    const pages: ReplicaPage<R>[] = [];
    for (let page = this.#first; page; page = page.next) {
      page.snapshot ??= createSnapshot(page);
      pages.push(page.snapshot);
    }
    return pages;
  }

  #append(page: Page<R>, id: ReplicaId, registration: Registration<R>, revision: number): void {
    this.#pageOf.set(id, page);
    page.places.set(id, page.registrations.push(registration) - 1);
    page.revisions.push(revision);
    page.snapshot = undefined;
  }

  /** Returns the last page, or a new one if that is full. */
  #getPageWithRoom(): Page<R> {
    const last = this.#last;
    if (last && last.places.size < PAGE_SIZE) {
      if (last.registrations.length >= PAGE_SIZE) removeGaps(last);
      return last;
    }
    const page: Page<R> = {
      id: ++this.#pageCount,
      places: new Map(),
      registrations: [],
      revisions: [],
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
    if (!page || !next || page.places.size + next.places.size > PAGE_SIZE / 2) return false;
    removeGaps(page);
    for (const [id, place] of next.places) {
      this.#append(page, id, next.registrations[place] as Registration<R>, next.revisions[place] as number);
    }
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

function createSnapshot<R extends Replica>(page: Page<R>): ReplicaPage<R> {
  removeGaps(page);
  const registrations = page.registrations.slice() as Registration<R>[];
  return { id: page.id, registrations, revisions: page.revisions.slice() };
}

/** Moves members to the places of deleted ones before them. */
function removeGaps<R extends Replica>({ places, registrations, revisions }: Page<R>): void {
  if (places.size === registrations.length) return;
  let count = 0;
  for (const [id, place] of places) {
    registrations[count] = registrations[place];
    revisions[count] = revisions[place] as number;
    places.set(id, count++);
  }
  registrations.length = count;
  revisions.length = count;
}
