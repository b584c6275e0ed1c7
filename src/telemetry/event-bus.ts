import type { Events } from '../core/ports.js';

/** Receives each event. It must not throw, and must return quickly, because the registry waits for it. */
export type Subscriber<Event> = (event: Event) => void;

/** Delivers events to subscribers, in the order in which they subscribed. */
export class EventBus<Event> implements Events<Event> {
  readonly #subscribers = new Set<Subscriber<Event>>();

  emit(event: Event): void {
    for (const subscriber of this.#subscribers) subscriber(event);
  }

  /** Adds a subscriber. The returned function removes it. */
  subscribe(subscriber: Subscriber<Event>): () => void {
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }
}
