import type { EventSourceMessage } from 'eventsource-parser';
import { parseWatchEvent } from '../../api/watch-events.js';
import type { Clock, Random } from '../../core/ports.js';
import { EventLog, MAX_EVENTS } from './event-log.js';
import { parseFleetRow } from './fleet-row.js';
import { LiveFleet } from './live-fleet.js';
import { LiveStream, type StreamState } from './live-stream.js';
import { SeenPoller } from './seen-poller.js';
import { RefusedError, type ServerApi } from './server-api.js';
import type { ServerInfo } from './server-info.js';

/** Interval of the requests for what no event reports, in ms. */
const POLL_INTERVAL_MS = 5000;

/** Interval at which ages are drawn again, in ms. */
const TICK_MS = 1000;

/** Minimum time between two drawings, in ms: sorting a large fleet takes longer. */
const DRAW_INTERVAL_MS = 100;
const LARGE_DRAW_INTERVAL_MS = 400;
const LARGE_FLEET = 2000;

/** Time for which the page says that a lost connection was found again, in ms. */
const FOUND_MS = 6000;

/** The connection of the page to the API server. */
export type Connection =
  | { readonly kind: 'connecting' | 'live' }
  /** `afterMs`: for how long the connection was lost. */
  | { readonly kind: 'found'; readonly afterMs: number }
  /** `sinceMs`: time at the server, in ms since 1970. */
  | { readonly kind: 'lost'; readonly sinceMs: number; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string };

/** Options of a {@link Session}. */
export interface SessionOptions {
  readonly api: Pick<ServerApi, 'send' | 'readServerInfo' | 'readSeen'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Called when the page must be drawn again. */
  readonly onChange: () => void;
}

type StreamName = 'watch' | 'events';

const PATHS: Readonly<Record<StreamName, string>> = {
  watch: '../watch',
  events: `../events?follow=1&limit=${MAX_EVENTS}`,
};

/** Follows an API server, and has what the page shows about it. */
export class Session {
  readonly fleet: LiveFleet;
  readonly log = new EventLog();
  readonly seen: SeenPoller;
  readonly #options: SessionOptions;
  readonly #streams = new Map<StreamName, LiveStream>();
  readonly #states = new Map<StreamName, StreamState>();
  #server: ServerInfo | undefined;
  /** Time at the server minus time in the browser, in ms. */
  #offsetMs = 0;
  #lostSinceMs: number | undefined;
  #found: { readonly atMs: number; readonly afterMs: number } | undefined;
  #isDrawing = false;
  #isRunning = false;
  #cancelTimers: (() => void)[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
    this.fleet = new LiveFleet(() => this.nowMs);
    this.seen = new SeenPoller(this.fleet, options.api);
  }

  /** Time at the API server, in ms since 1970. The clock of the browser can be wrong. */
  get nowMs(): number {
    return this.#options.clock.epochMs() + this.#offsetMs;
  }

  /** Undefined while it isn't known. */
  get server(): ServerInfo | undefined {
    return this.#server;
  }

  get connection(): Connection {
    const states = [...this.#states.values()];
    const refused = states.find((state) => state.kind === 'refused');
    if (refused) return refused;
    const lost = states.find((state) => state.kind === 'lost');
    const { clock } = this.#options;
    if (lost) return { ...lost, sinceMs: this.#lostSinceMs ?? this.nowMs };
    if (states.length < 2 || states.some(({ kind }) => kind === 'connecting')) return { kind: 'connecting' };
    if (this.#found && clock.nowMs() - this.#found.atMs < FOUND_MS) return { kind: 'found', ...this.#found };
    return { kind: 'live' };
  }

  /** Connects. Continues after the events that are known. Does nothing if it is connected. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#open('watch', (event) => this.#applyWatchEvent(event));
    this.#open('events', ({ id, data }) => this.log.add(id, data));
    this.#repeat(TICK_MS, async () => this.#drawSoon());
    this.#repeat(POLL_INTERVAL_MS, () => this.#poll());
  }

  /** Forgets lost offers, and draws the page without them. */
  forgetLostOffers(keys: readonly string[]): void {
    this.fleet.forgetLostOffers(keys);
    this.#drawSoon();
  }

  /** Closes all connections. */
  stop(): void {
    this.#isRunning = false;
    for (const stream of this.#streams.values()) stream.close();
    for (const cancel of this.#cancelTimers.splice(0)) cancel();
  }

  #open(name: StreamName, onEvent: (event: EventSourceMessage) => void): void {
    const { api, clock, random } = this.#options;
    const stream = new LiveStream({
      api,
      path: PATHS[name],
      clock,
      random,
      lastEventId: this.#streams.get(name)?.lastEventId,
      onEvent: (event) => {
        onEvent(event);
        this.#drawSoon();
      },
      onState: (state) => this.#changeState(name, state),
    });
    this.#streams.set(name, stream);
    void stream.run();
  }

  #changeState(name: StreamName, state: StreamState): void {
    const { clock } = this.#options;
    this.#states.set(name, state);
    const states = [...this.#states.values()];
    const isLost = states.some(({ kind }) => kind === 'lost');
    if (isLost) this.#lostSinceMs ??= this.nowMs;
    else if (this.#lostSinceMs !== undefined && states.every(({ kind }) => kind === 'live')) {
      this.#found = { atMs: clock.nowMs(), afterMs: this.nowMs - this.#lostSinceMs };
      this.#lostSinceMs = undefined;
    }
    if (state.kind === 'refused') this.stop();
    this.#drawSoon();
  }

  #applyWatchEvent({ event: name, data }: EventSourceMessage): void {
    if (name === 'put') {
      const row = parseFleetRow(data);
      if (row) this.fleet.apply({ kind: 'put', row });
      return;
    }
    const event = parseWatchEvent(name, data);
    if (event === undefined || event === 'unknown' || event.kind === 'put' || event.kind === 'dropped') return;
    this.fleet.apply(event);
  }

  /** Asks for what no event reports: the state of the server, and when it last heard of each replica. */
  async #poll(): Promise<void> {
    const { api, clock } = this.#options;
    const sentAtMs = clock.epochMs();
    try {
      this.#server = await api.readServerInfo();
      // The response was made about half of the way between.
      this.#offsetMs = this.#server.nowMs - (sentAtMs + clock.epochMs()) / 2;
      await this.seen.poll();
    } catch (error) {
      // The streams report a lost connection. A server that is older than the page has no description.
      if (error instanceof RefusedError && !error.needsToken) this.#server = undefined;
    }
    this.#drawSoon();
  }

  /** Runs a task now, and again an interval after its end, until the session stops. */
  #repeat(intervalMs: number, task: () => Promise<void>): void {
    let isStopped = false;
    let cancel = (): void => {};
    const run = async (): Promise<void> => {
      await task();
      if (!isStopped) cancel = this.#options.clock.schedule(intervalMs, () => void run());
    };
    this.#cancelTimers.push(() => {
      isStopped = true;
      cancel();
    });
    void run();
  }

  #drawSoon(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    const delayMs = this.fleet.rows.size > LARGE_FLEET ? LARGE_DRAW_INTERVAL_MS : DRAW_INTERVAL_MS;
    this.#options.clock.schedule(delayMs, () => {
      this.#isDrawing = false;
      this.#options.onChange();
    });
  }
}
