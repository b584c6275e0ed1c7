import { parseEventPosition } from '../../api/event-frames.js';
import { parseReceivedEvent, type ReceivedEvent } from '../../api/event-json.js';

/** Maximum number of events that the page keeps. The server has 10,000. */
export const MAX_EVENTS = 2000;

/** The last events of an API server, newest first. */
export class EventLog {
  #events: ReceivedEvent[] = [];
  #epoch: string | undefined;
  #version = 0;

  /** Changes with each event. */
  get version(): number {
    return this.#version;
  }

  /** Newest first. */
  get events(): readonly ReceivedEvent[] {
    return this.#events;
  }

  /**
   * Adds an event with its id, as the stream has it. The events of another process of the server replace the earlier ones, because
   * they are a whole history. An event that is there already is skipped.
   */
  add(id: string | undefined, data: string): void {
    const event = parseReceivedEvent(data);
    if (!event) return;
    const epoch = parseEventPosition(id)?.epoch;
    if (epoch !== this.#epoch) this.#events = [];
    this.#epoch = epoch;
    if (event.seq <= (this.#events[0]?.seq ?? 0)) return;
    this.#version++;
    // A new array, because the old one can be on the page.
    this.#events = [event, ...this.#events.slice(0, MAX_EVENTS - 1)];
  }

  /** Returns the events of a kind since a time, newest first. */
  listSince(kind: string, sinceMs: number): ReceivedEvent[] {
    return this.#events.filter((event) => event.kind === kind && event.atMs >= sinceMs);
  }
}
