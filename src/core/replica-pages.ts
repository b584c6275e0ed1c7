import type { ReplicaId } from './ids.js';
import type { Registration } from './replica.js';

/** A part of the list as it is at a moment, in its order: it is never changed. */
export interface ReplicaPage {
  /** The same array for as long as none of them changes. */
  readonly registrations: readonly Registration[];
  /**
   * The same object while only a few of them change: what is made of a page can be kept under it, weakly, and help when the
   * same is made of the next state.
   */
  readonly cacheKey: object;
}

/** So many registrations make a full page: enough to have few pages, few enough to make one again in no time. */
const PAGE_SIZE = 128;

/** After so many changes that were never listed, a page gets another place: what is kept under it holds who has left. */
const MOST_UNLISTED = PAGE_SIZE / 8;

/** A page as it is kept, between its neighbours. */
interface Page {
  readonly members: Map<ReplicaId, Registration>;
  /** The members as they are listed; undefined when they have changed since. */
  listed: ReplicaPage | undefined;
  cacheKey: object;
  /** How many changes there were since it was last listed. */
  unlisted: number;
  before: Page | undefined;
  after: Page | undefined;
}

/**
 * Registrations by id, in the order in which their ids first came, and in pages: a list of 100,000 of which one has
 * changed is 800 pages of which one has.
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

  /** Puts a registration in the place of the one that its replica has, or at the end. */
  put(registration: Registration): void {
    const { id } = registration.replica;
    const page = this.#pageOf.get(id) ?? this.#pageWithRoom();
    this.#pageOf.set(id, page);
    page.members.set(id, registration);
    noteChange(page);
  }

  delete(id: ReplicaId): void {
    const page = this.#pageOf.get(id);
    if (!page) return;
    this.#pageOf.delete(id);
    page.members.delete(id);
    noteChange(page);
    if (page.members.size === 0) this.#remove(page);
    else if (!this.#join(page.before, page)) this.#join(page, page.after);
  }

  /** All of them, in order. */
  *all(): Iterable<Registration> {
    for (let page = this.#first; page; page = page.after) yield* page.members.values();
  }

  /** All pages, in order. Only those that have changed since the last time are made again. */
  pages(): ReplicaPage[] {
    const pages: ReplicaPage[] = [];
    for (let page = this.#first; page; page = page.after) {
      page.listed ??= { registrations: [...page.members.values()], cacheKey: page.cacheKey };
      page.unlisted = 0;
      pages.push(page.listed);
    }
    return pages;
  }

  #pageWithRoom(): Page {
    const last = this.#last;
    if (last && last.members.size < PAGE_SIZE) return last;
    const page: Page = {
      members: new Map(),
      listed: undefined,
      cacheKey: {},
      unlisted: 0,
      before: last,
      after: undefined,
    };
    if (last) last.after = page;
    else this.#first = page;
    this.#last = page;
    return page;
  }

  /** Where both are sparse, moves the members of a page to the end of the one before it; false where not. */
  #join(page: Page | undefined, after: Page | undefined): boolean {
    if (!page || !after || page.members.size + after.members.size > PAGE_SIZE / 2) return false;
    for (const [id, registration] of after.members) {
      page.members.set(id, registration);
      this.#pageOf.set(id, page);
    }
    after.members.clear();
    noteChange(page);
    this.#remove(after);
    return true;
  }

  #remove({ before, after }: Page): void {
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
  }
}

/** Notes that the members of a page are no longer those that were listed. */
function noteChange(page: Page): void {
  page.listed = undefined;
  if (++page.unlisted === MOST_UNLISTED) page.cacheKey = {};
}
