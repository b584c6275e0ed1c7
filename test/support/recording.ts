import { type Span, uniteSpans } from './time-spans.js';

/** An event of a run of several API servers, keepers, and a client's table. Servers are named by their URLs. */
export type RunEvent =
  /** The test has started a server, or let it continue. */
  | { readonly kind: 'server-up'; readonly server: string }
  /** The test is about to kill, stop or freeze a server. */
  | { readonly kind: 'server-down'; readonly server: string }
  /** A process has begun to keep a replica registered. `keeper` names the process. */
  | { readonly kind: 'keeper-started'; readonly id: string; readonly keeper: string }
  /** The process is about to drain, or to end its registrations. */
  | { readonly kind: 'keeper-stopped'; readonly id: string; readonly keeper: string }
  /** The recorder's watch of a server begins. It begins with a snapshot each time. */
  | { readonly kind: 'connected'; readonly server: string }
  | { readonly kind: 'disconnected'; readonly server: string }
  | { readonly kind: 'snapshot'; readonly server: string; readonly isWarming: boolean }
  | PutEvent
  | {
      readonly kind: 'removed';
      readonly server: string;
      readonly epoch: string;
      readonly id: string;
      readonly reason: string;
    }
  | { readonly kind: 'synced'; readonly server: string; readonly epoch: string }
  /** The server's history says that another process has taken the id over. */
  | { readonly kind: 'superseded'; readonly server: string; readonly id: string }
  | { readonly kind: 'table-connected'; readonly server: string }
  | { readonly kind: 'table-disconnected'; readonly server: string }
  /** A replica has appeared in the client's table, or has left it. */
  | { readonly kind: 'table-added'; readonly id: string }
  | { readonly kind: 'table-removed'; readonly id: string };

/** A server lists a replica. `epoch` names the process of the server. */
export interface PutEvent {
  readonly kind: 'put';
  readonly server: string;
  readonly epoch: string;
  readonly id: string;
  readonly state: string;
  /** Undefined for a registrant that shows no instance, such as curl. */
  readonly instance: { readonly id: string; readonly seq: number } | undefined;
}

/** An event with its time in ms since the start of the recording. */
export type RecordedEvent = RunEvent & { readonly atMs: number };

/** The events of a run in the order of their times. */
export interface Recording {
  readonly events: readonly RecordedEvent[];
  readonly endMs: number;
}

/** A period in which a process kept a replica registered. */
export interface KeeperRun extends Span {
  readonly id: string;
  readonly keeper: string;
}

/** A period in which a server listed a replica without a change. */
export interface Listing extends Span, Pick<PutEvent, 'server' | 'id' | 'state' | 'instance'> {}

/** The events of one connection of the recorder to a server. */
export interface Connection {
  readonly server: string;
  readonly events: readonly ServerEvent[];
}

/** An event about one id that a server sent. */
export type ServerEvent = Extract<RecordedEvent, { readonly kind: 'put' | 'removed' | 'superseded' }>;

/** Returns the connections of the recorder to all servers. */
export function readConnections({ events }: Recording): Connection[] {
  const connections: { readonly server: string; readonly events: ServerEvent[] }[] = [];
  const current = new Map<string, ServerEvent[]>();
  for (const event of events) {
    if (event.kind === 'connected') {
      const connection = { server: event.server, events: [] };
      connections.push(connection);
      current.set(event.server, connection.events);
    } else if (event.kind === 'put' || event.kind === 'removed' || event.kind === 'superseded') {
      current.get(event.server)?.push(event);
    }
  }
  return connections;
}

/** Returns when each server was up, by its URL. */
export function readServerUptimes({ events, endMs }: Recording): Map<string, Span[]> {
  return readSpans(events, endMs, 'server-up', 'server-down');
}

/** Returns when the client's table was connected to each server, by the server's URL. */
export function readTableConnections({ events, endMs }: Recording): Map<string, Span[]> {
  return readSpans(events, endMs, 'table-connected', 'table-disconnected');
}

function readSpans(
  events: readonly RecordedEvent[],
  endMs: number,
  start: 'server-up' | 'table-connected',
  end: 'server-down' | 'table-disconnected',
): Map<string, Span[]> {
  const spans = new Map<string, Span[]>();
  const open = new Map<string, number>();
  const close = (server: string, toMs: number): void => {
    const fromMs = open.get(server);
    if (fromMs === undefined) return;
    open.delete(server);
    spans.set(server, uniteSpans([...(spans.get(server) ?? []), { fromMs, toMs }]));
  };
  for (const event of events) {
    if (event.kind === start && !open.has(event.server)) open.set(event.server, event.atMs);
    if (event.kind === end) close(event.server, event.atMs);
  }
  for (const server of [...open.keys()]) close(server, endMs);
  return spans;
}

/** Returns the periods in which processes kept replicas registered, in the order of their starts. */
export function readKeeperRuns({ events, endMs }: Recording): KeeperRun[] {
  const stops = events.filter((event) => event.kind === 'keeper-stopped');
  return events.flatMap((event) => {
    if (event.kind !== 'keeper-started') return [];
    const { id, keeper, atMs: fromMs } = event;
    const stop = stops.find((one) => one.id === id && one.keeper === keeper && one.atMs >= fromMs);
    return [{ id, keeper, fromMs, toMs: stop?.atMs ?? endMs }];
  });
}

/** Returns what each server listed, by replica id, in the order of the ends. The list of a server ends with the connection to it. */
export function readListings({ events, endMs }: Recording): Map<string, Listing[]> {
  const listings = new Map<string, Listing[]>();
  const lists = new Map<string, Map<string, PutEvent & { readonly atMs: number }>>();
  const end = (server: string, id: string, toMs: number): void => {
    const put = lists.get(server)?.get(id);
    if (!put) return;
    lists.get(server)?.delete(id);
    const { state, instance, atMs: fromMs } = put;
    const found = listings.get(id) ?? [];
    found.push({ server, id, state, instance, fromMs, toMs });
    listings.set(id, found);
  };
  const endAll = (server: string, toMs: number): void => {
    for (const id of [...(lists.get(server)?.keys() ?? [])]) end(server, id, toMs);
  };
  for (const event of events) {
    if (event.kind === 'connected') lists.set(event.server, new Map());
    if (event.kind === 'put' || event.kind === 'removed') end(event.server, event.id, event.atMs);
    if (event.kind === 'put') lists.get(event.server)?.set(event.id, event);
    if (event.kind === 'disconnected') endAll(event.server, event.atMs);
  }
  for (const server of lists.keys()) endAll(server, endMs);
  return listings;
}
