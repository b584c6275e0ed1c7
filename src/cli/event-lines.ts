import { formatEventDetails } from '../api/event-details.js';
import type { ReceivedEvent } from '../api/event-json.js';
import type { ServerAddress } from '../client/server-list.js';
import { escapeControls } from '../core/control-characters.js';
import { formatLocalTime } from '../system.js';
import type { CommandIo } from './command.js';
import { createColors } from './output.js';
import { formatTable } from './table.js';

/** Width that kinds are padded to in lines. That of the longest kind that is frequent. */
const KIND_COLUMNS = 20;

/** An event and the server that reported it. */
export interface ServerEventRecord {
  readonly server: ServerAddress;
  readonly event: ReceivedEvent;
}

/** Formats an event as a line, with the server's name if there are several servers. */
export type FormatEventLine = (record: ServerEventRecord) => string;

/** Merges the events of several servers by time. Events of one server keep their order, also if its clock was set back. */
export function mergeByTime(
  histories: readonly { readonly server: ServerAddress; readonly events: readonly ReceivedEvent[] }[],
): ServerEventRecord[] {
  const records = histories.flatMap(({ server, events }) => {
    let timeMs = Number.NEGATIVE_INFINITY;
    return events.map((event) => {
      timeMs = Math.max(timeMs, event.atMs);
      return { record: { server, event }, timeMs };
    });
  });
  return records.sort((a, b) => a.timeMs - b.timeMs).map(({ record }) => record);
}

/** Formats events as a table, with the column SERVER if there are several servers. */
export function formatEventTable(records: readonly ServerEventRecord[], hasSeveral: boolean, io: CommandIo): string {
  const columns = ['TIME', 'EVENT', 'REPLICA', ...(hasSeveral ? ['SERVER'] : []), 'DETAILS'];
  const rows = records.map(({ server, event }) => [
    formatLocalTime(event.atMs),
    event.kind,
    event.replicaId ?? '-',
    ...(hasSeveral ? [server.name] : []),
    formatEventDetails(event),
  ]);
  return formatTable(columns, rows, io);
}

/** Creates a format of one JSON object per line: the members as the server sent them, and the server if there are several. */
export function createJsonFormat(hasSeveral: boolean): FormatEventLine {
  return ({ server, event }) => {
    const members = hasSeveral ? { ...event.members, server: server.name } : event.members;
    return `${escapeControls(JSON.stringify(members))}\n`;
  };
}

/** Creates a format of one line of text per event. */
export function createTextFormat(hasSeveral: boolean, { stdout, env }: CommandIo): FormatEventLine {
  const { dim } = createColors(stdout, env);
  return ({ server, event }) => {
    const replica = event.replicaId === undefined ? [] : [event.replicaId];
    const details = [...replica, ...(hasSeveral ? [server.name] : []), formatEventDetails(event)];
    const text = [event.kind.padEnd(KIND_COLUMNS), ...details].join('  ').trimEnd();
    return `${dim(formatLocalTime(event.atMs))}  ${escapeControls(text)}\n`;
  };
}
