import { get, type IncomingMessage } from 'node:http';
import { TableFeeds } from '../../src/client/balancing/table-feeds.js';
import { readServerSentEvents } from '../../src/client/event-stream.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import { clock, random } from '../../src/system.js';
import { createApiClient } from './api-client.js';
import { RecordedTable } from './recorded-table.js';
import type { RecordedEvent, Recording, RunEvent } from './recording.js';

/** Interval between attempts to watch a server that is down, in ms. */
const RECONNECT_INTERVAL_MS = 100;

/** Time in which the servers send the last changes, in ms. */
const LAST_CHANGES_MS = 500;

const MAX_EVENT_BYTES = 4 * 1024 * 1024;

/**
 * Records a run of API servers that are real processes: what each of them lists, as its `GET /watch` reports it, what it
 * reports of takeovers in `GET /events`, what the test does, and what a client's table contains.
 */
export class RunRecorder {
  readonly #startedAtMs = clock.nowMs();
  readonly #events: RecordedEvent[] = [];
  readonly #stop = new AbortController();
  readonly #followed = new Map<string, Promise<void>>();
  readonly #stopTables: (() => void)[] = [];
  #failure: unknown;
  #recording: Promise<Recording> | undefined;

  /** Time since the start of the recording, in ms. */
  get nowMs(): number {
    return clock.nowMs() - this.#startedAtMs;
  }

  /** Records an event of the test. Follows a server from its first start. */
  readonly record = (event: RunEvent): void => {
    this.#events.push({ ...event, atMs: this.nowMs });
    if (event.kind !== 'server-up' || this.#followed.has(event.server)) return;
    const following = this.#follow(event.server).catch((error) => {
      this.#failure = error;
    });
    this.#followed.set(event.server, following);
  };

  /** Fills a table with all replicas of the servers, as a `Client` does, and records its content. */
  recordTable(servers: readonly string[]): void {
    const api = createApiClient(servers);
    const table = new RecordedTable(clock, this.record);
    const feeds = new TableFeeds({ api, filter: { query: [], selector: EMPTY_SELECTOR }, table, clock, random });
    void feeds.run();
    this.#stopTables.push(() => {
      feeds.stop();
      api.close();
    });
  }

  /** Ends the recording and returns it. Rejects if a server sent something else than events. */
  stop(): Promise<Recording> {
    this.#recording ??= this.#finish();
    return this.#recording;
  }

  async #finish(): Promise<Recording> {
    await sleep(LAST_CHANGES_MS);
    const endMs = this.nowMs;
    const events = [...this.#events];
    this.#stop.abort();
    for (const stopTable of this.#stopTables) stopTable();
    await Promise.all(this.#followed.values());
    if (this.#failure) throw this.#failure;
    return { events, endMs };
  }

  /** Watches a server until the end of the recording, and connects again whenever the connection is lost. */
  async #follow(server: string): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const response = await openStream(`${server}/watch`, signal);
      if (response) await this.#recordWatch(server, response);
      if (!signal.aborted) await sleep(RECONNECT_INTERVAL_MS);
    }
  }

  async #recordWatch(server: string, response: IncomingMessage): Promise<void> {
    const connection = new AbortController();
    const end = (): void => connection.abort();
    this.#stop.signal.addEventListener('abort', end, { once: true });
    this.record({ kind: 'connected', server });
    try {
      for await (const { event = '', data, id = '' } of readEvents(response)) {
        this.#recordWatchEvent(server, event, JSON.parse(data), id.replace(/-\d+$/, ''));
        // The list is complete, so that it shows each takeover that the history reports from now on.
        if (event === 'synced') void this.#recordTakeovers(server, connection.signal);
      }
    } finally {
      this.record({ kind: 'disconnected', server });
      this.#stop.signal.removeEventListener('abort', end);
      end();
    }
  }

  #recordWatchEvent(server: string, kind: string, data: WatchEventData, epoch: string): void {
    const { replica_id: id, state = '', reason = '', warming = false, instance } = data;
    if (kind === 'snapshot') this.record({ kind, server, isWarming: warming });
    else if (kind === 'synced') this.record({ kind, server, epoch });
    else if (kind === 'put') this.record({ kind, server, epoch, id, state, instance });
    else if (kind === 'removed') this.record({ kind, server, epoch, id, reason });
  }

  /** Records the takeovers in the history of a server, without the earlier ones. */
  async #recordTakeovers(server: string, signal: AbortSignal): Promise<void> {
    const response = await openStream(`${server}/events?follow&kind=removed&limit=0`, signal);
    if (!response) return;
    for await (const { data } of readEvents(response)) {
      const { replica_id: id, reason } = JSON.parse(data) as WatchEventData;
      if (reason === 'superseded' && !signal.aborted) this.record({ kind: 'superseded', server, id });
    }
  }
}

/** Members of the events of `GET /watch` that are recorded. */
interface WatchEventData {
  readonly replica_id: string;
  readonly state?: string;
  readonly reason?: string;
  readonly warming?: boolean;
  readonly instance?: { readonly id: string; readonly seq: number };
}

/** Sends a GET request. Resolves with undefined if no server responds with events. */
function openStream(url: string, signal: AbortSignal): Promise<IncomingMessage | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { signal, agent: false, headers: { accept: 'text/event-stream' } }, (response) => {
      if (response.statusCode === 200) return resolve(response);
      response.destroy();
      resolve(undefined);
    });
    request.on('error', () => resolve(undefined));
  });
}

/** Yields the events of a stream until its connection ends for any reason. */
async function* readEvents(response: IncomingMessage) {
  const events = readServerSentEvents(response, MAX_EVENT_BYTES);
  for (;;) {
    const next = await events.next().catch((error) => {
      if (response.errored || response.destroyed) return { done: true } as const;
      throw error;
    });
    if (next.done) return;
    yield next.value;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
