import type { Clock } from '../core/ports.js';

/** Limits of one share of the history. The oldest events make room for new ones. */
interface ShareLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** Limits of the share for events that only happen to replicas with a lease. */
const FLEET_LIMITS: ShareLimits = { maxEvents: 10_000, maxBytes: 7 * 1024 * 1024 };

/** Limits of the share for events that anyone can cause. They must not push out the others. */
const REFUSAL_LIMITS: ShareLimits = { maxEvents: 1000, maxBytes: 1024 * 1024 };

/** Memory of an event in addition to the characters of its strings, in bytes, as measured. */
const EVENT_OVERHEAD_BYTES = 350;

/** An event in the form in which it is kept and sent. Its strings share no memory with others. */
export interface SerializedEvent {
  readonly kind: string;
  /** Undefined if the event is about no replica. */
  readonly replicaId: string | undefined;
  /** The event as JSON, with its time and number. */
  readonly data: string;
  /** Whether anyone who can reach the server can cause it. */
  readonly isRefusal: boolean;
}

/** An event of the history. Numbers start at 1 and increase by 1. */
export interface HistoryEntry extends SerializedEvent {
  readonly seq: number;
}

/** Number of an event, and its wall-clock time in ms since 1970. */
export interface EventStamp {
  readonly seq: number;
  readonly atMs: number;
}

/** Options of a history. */
export interface EventHistoryOptions<Event> {
  /** Names this process: numbers of different epochs can't be compared. */
  readonly epoch: string;
  readonly clock: Pick<Clock, 'epochMs'>;
  /** Serializes an event. Returns undefined for an event that isn't kept. */
  readonly serialize: (event: Event, stamp: EventStamp) => SerializedEvent | undefined;
}

/** Keeps the last events: 10,000 of the replicas with a lease, 1,000 refused registrations, and at most 8 MiB. */
export class EventHistory<Event> {
  readonly epoch: string;
  readonly #options: EventHistoryOptions<Event>;
  readonly #fleet = new HistoryShare(FLEET_LIMITS);
  readonly #refusals = new HistoryShare(REFUSAL_LIMITS);
  readonly #listeners = new Set<() => void>();
  #lastSeq = 0;

  constructor(options: EventHistoryOptions<Event>) {
    this.epoch = options.epoch;
    this.#options = options;
  }

  /** Number of the newest event. 0 before the first one. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Number of the newest event that is no longer kept, not counting refused registrations. 0 if all are kept. */
  get droppedSeq(): number {
    return this.#fleet.droppedSeq;
  }

  /** Estimated memory of all events, in bytes. */
  get bytes(): number {
    return this.#fleet.bytes + this.#refusals.bytes;
  }

  /** Adds an event. Subscribe this to an event bus. */
  readonly record = (event: Event): void => {
    const { serialize, clock } = this.#options;
    const seq = this.#lastSeq + 1;
    const serialized = serialize(event, { seq, atMs: clock.epochMs() });
    if (!serialized) return;
    this.#lastSeq = seq;
    (serialized.isRefusal ? this.#refusals : this.#fleet).add({ ...serialized, seq });
    for (const listener of this.#listeners) listener();
  };

  /** Calls a listener after each event. It must return quickly. The returned function removes it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Yields the events with a higher number, oldest first. They must be consumed in one turn of the event loop. */
  *listAfter(seq: number): Generator<HistoryEntry> {
    let fleetIndex = this.#fleet.findIndexAfter(seq);
    let refusalIndex = this.#refusals.findIndexAfter(seq);
    for (;;) {
      const fleet = this.#fleet.get(fleetIndex);
      const refusal = this.#refusals.get(refusalIndex);
      if (fleet && (!refusal || fleet.seq < refusal.seq)) {
        fleetIndex++;
        yield fleet;
      } else if (refusal) {
        refusalIndex++;
        yield refusal;
      } else return;
    }
  }
}

/** Events of one kind of origin, oldest first. */
class HistoryShare {
  readonly #limits: ShareLimits;
  /** The events before `#start` are dropped. */
  #entries: (HistoryEntry | undefined)[] = [];
  #start = 0;
  #bytes = 0;
  #droppedSeq = 0;

  constructor(limits: ShareLimits) {
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Number of the newest event that was dropped; 0 if none was. */
  get droppedSeq(): number {
    return this.#droppedSeq;
  }

  add(entry: HistoryEntry): void {
    this.#entries.push(entry);
    this.#bytes += estimateBytes(entry);
    const { maxEvents, maxBytes } = this.#limits;
    while (this.#entries.length - this.#start > maxEvents || this.#bytes > maxBytes) this.#dropOldest();
    if (this.#start <= maxEvents) return;
    this.#entries = this.#entries.slice(this.#start);
    this.#start = 0;
  }

  /** Returns the event at an index. Indexes are valid until the next {@link add}. */
  get(index: number): HistoryEntry | undefined {
    return this.#entries[index];
  }

  /** Returns the index of the first event with a higher number, by binary search. */
  findIndexAfter(seq: number): number {
    let low = this.#start;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#entries[middle] as HistoryEntry).seq > seq) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #dropOldest(): void {
    const oldest = this.#entries[this.#start] as HistoryEntry;
    this.#entries[this.#start++] = undefined;
    this.#bytes -= estimateBytes(oldest);
    this.#droppedSeq = oldest.seq;
  }
}

function estimateBytes({ data, replicaId = '' }: HistoryEntry): number {
  return EVENT_OVERHEAD_BYTES + estimateTextBytes(data) + estimateTextBytes(replicaId);
}

/** V8 keeps a string in one byte per UTF-16 unit if all of them are below 256, and else in two. */
function estimateTextBytes(text: string): number {
  return /[^\0-\xff]/.test(text) ? text.length * 2 : text.length;
}
