/** An element of an {@link UnorderedList}. It can be in one list at a time. */
export interface ListElement {
  /** Its position in the list. Only the list changes it. */
  position: number;
}

/**
 * A set of objects that come and go with every call, in no order. `Set` is not used for them: it replaces its table every few hundred
 * changes, and a dead table in V8's old generation keeps the objects in it, and the next table, until the next full collection. Through
 * such chains of tables, nearly all objects of all calls moved to the old generation.
 */
export class UnorderedList<Element extends ListElement> implements Iterable<Element> {
  readonly #elements: Element[] = [];

  get size(): number {
    return this.#elements.length;
  }

  /** Adds an object that is in no list. */
  add(element: Element): void {
    element.position = this.#elements.push(element) - 1;
  }

  /** Removes an object. The last one takes its place. Has no effect if it is not in the list. */
  delete(element: Element): void {
    const { position } = element;
    if (this.#elements[position] !== element) return;
    const last = this.#elements.pop() as Element;
    if (last === element) return;
    this.#elements[position] = last;
    last.position = position;
  }

  /** Iterates over the objects that are in the list now, so they can be removed meanwhile. */
  [Symbol.iterator](): Iterator<Element> {
    return [...this.#elements].values();
  }
}
