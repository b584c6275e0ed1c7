import type { WatchEvent } from '../../src/api/watch-events.js';
import { openRawConnection, type RawConnection } from './api-server.js';

/** An event as it was received. */
export interface ReceivedEvent {
  readonly event: string;
  readonly data: Record<string, unknown>;
  readonly id: string | undefined;
}

/** A watch stream over a raw connection. */
export interface RawWatch extends RawConnection {
  /** Returns the complete events so far. */
  events(): ReceivedEvent[];
  /** Returns the events in short: `put r1 ready`, `removed r1 closed`. */
  summarize(): string[];
  isEnded(): boolean;
}

/** Opens a watch with HTTP/1.0, so that its body is not chunked. */
export function openWatch(
  port: number,
  { search = '', lastEventId = '', headers = '' }: { search?: string; lastEventId?: string; headers?: string } = {},
): RawWatch {
  const resume = lastEventId === '' ? '' : `Last-Event-ID: ${lastEventId}\r\n`;
  const connection = openRawConnection(port, `GET /watch${search} HTTP/1.0\r\nHost: x\r\n${resume}${headers}\r\n`);
  let isEnded = false;
  connection.socket.on('close', () => {
    isEnded = true;
  });
  connection.socket.on('end', () => {
    isEnded = true;
  });
  const events = (): ReceivedEvent[] => {
    const [, ...body] = connection.received().split('\r\n\r\n');
    const frames = body.join('\r\n\r\n').split('\n\n').slice(0, -1);
    return frames.filter((frame) => !frame.startsWith(':')).map(parseFrame);
  };
  return { ...connection, events, summarize: () => events().map(summarizeEvent), isEnded: () => isEnded };
}

function parseFrame(frame: string): ReceivedEvent {
  const fields = new Map(frame.split('\n').map((line) => line.split(/: (.*)/s) as [string, string]));
  const data = Buffer.from(fields.get('data') ?? '', 'latin1').toString();
  return { event: fields.get('event') ?? '', data: JSON.parse(data), id: fields.get('id') };
}

function summarizeEvent({ event, data }: ReceivedEvent): string {
  const { replica_id: id, state, reason, warming } = data;
  return [event, id, state, reason, warming].filter((part) => part !== undefined).join(' ');
}

/** Applies an event to a table of rows by replica id. */
export function applyWatchEvent(table: Map<string, string>, event: WatchEvent): void {
  if (event.kind === 'snapshot') table.clear();
  if (event.kind === 'put') table.set(event.replica.replica.id, event.replica.toText());
  if (event.kind === 'removed') table.delete(event.replicaId);
}
