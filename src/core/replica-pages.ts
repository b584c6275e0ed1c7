import type { ReplicaId } from './ids.js';
import type { Registration } from './replica.js';

/** A part of the list, in its order. It is never changed: whatever is made of it holds for as long as it is listed. */
export type ReplicaPage = readonly Registration[];

/** So many registrations make a full page: enough to have few pages, few enough to make one again in no time. */
const PAGE_SIZE = 128;

/** A page as it is kept, between its neighbours. */
interface Page {
  readonly members: Map<ReplicaId, Registration>;
  /** The members as they are listed; undefined when they have changed since. */
  listed: ReplicaPage | undefined;
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
    page.listed = undefined;
  }

  delete(id: ReplicaId): void {
    const page = this.#pageOf.get(id);
    if (!page) return;
    this.#pageOf.delete(id);
    page.members.delete(id);
    page.listed = undefined;
    if (page.members.size === 0) this.#remove(page);
    else if (!this.#join(page.before, page)) this.#join(page, page.after);
  }

  /** All pages, in order. Only those that have changed since the last time are made again. */
  pages(): ReplicaPage[] {
    const pages: ReplicaPage[] = [];
    for (let page = this.#first; page; page = page.after) {
      page.listed ??= [...page.members.values()];
      pages.push(page.listed);
    }
    return pages;
  }

  #pageWithRoom(): Page {
    const last = this.#last;
    if (last && last.members.size < PAGE_SIZE) return last;
    const page: Page = { members: new Map(), listed: undefined, before: last, after: undefined };
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
    page.listed = undefined;
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
