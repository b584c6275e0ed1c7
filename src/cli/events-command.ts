import { HISTORY_EVENT_KINDS, isHistoryEventKind } from '../api/event-json.js';
import type { EventFilters } from '../api/event-query.js';
import type { ApiClient } from '../client/api-client.js';
import { dropSameProcess } from '../client/event-client.js';
import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Arguments, Command, CommandIo } from './command.js';
import {
  createJsonFormat,
  createTextFormat,
  type FormatEventLine,
  formatEventTable,
  mergeByTime,
} from './event-lines.js';
import { followEvents } from './followed-events.js';
import { createLog } from './log-lines.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';

/** `anyserve events`: lists what happened to replicas, or follows it. */
export const eventsCommand: Command = {
  name: 'events',
  usage: '',
  summary:
    'Lists what happened to replicas, oldest first: registrations, removals with their reason, suspicions, cordons and refused ' +
    'registrations. An API server keeps the last 10,000 events, until it restarts. The events of several servers are merged ' +
    'by time. Times are those of the servers, in the local time zone.',
  examples: [
    ['anyserve events', 'list all events'],
    ['anyserve events --follow --kind removed', 'print each removal as it happens'],
    ['anyserve events --replica r1 --json', 'print one JSON object per event of r1'],
  ],
  options: {
    follow: { type: 'flag', description: 'print new events as they happen, until interrupted' },
    replica: {
      type: 'text',
      value: 'ID',
      description: 'only events of this replica; repeat for several',
      repeatable: true,
      suggests: 'replica ids',
    },
    kind: {
      type: 'text',
      value: 'KIND',
      description: 'only events of this kind, such as removed; repeat for several',
      repeatable: true,
      choices: HISTORY_EVENT_KINDS,
    },
    ...SERVER_OPTIONS,
  },
  maxWords: 0,
  async run(args, io) {
    const filters = readFilters(args);
    const api = createApiClient(args, io);
    try {
      const hasSeveral = (await api.servers.get()).length > 1;
      const format = args.hasFlag('json') ? createJsonFormat(hasSeveral) : createTextFormat(hasSeveral, io);
      if (args.hasFlag('follow')) return await followEvents(api, filters, { format, io });
      return await listEvents(api, filters, { isJson: args.hasFlag('json'), hasSeveral, format, io });
    } finally {
      api.close();
    }
  },
};

/** Reads the filters. Throws `usage` for a kind that doesn't exist. */
function readFilters(args: Arguments): EventFilters {
  const kinds = args.getTexts('kind');
  const unknown = kinds.find((kind) => !isHistoryEventKind(kind));
  if (unknown !== undefined) {
    const known = HISTORY_EVENT_KINDS.join(', ');
    throw new AnyserveError('usage', `--kind ${quote(unknown)} does not exist; the kinds are ${known}`);
  }
  return { replicaIds: args.getTexts('replica'), kinds };
}

interface ListOptions {
  readonly isJson: boolean;
  readonly hasSeveral: boolean;
  readonly format: FormatEventLine;
  readonly io: CommandIo;
}

async function listEvents(api: ApiClient, filters: EventFilters, options: ListOptions): Promise<number> {
  const { isJson, hasSeveral, format, io } = options;
  const { responses, failures } = await api.events.list(filters, { signal: io.interrupted });
  for (const { error } of failures) createLog(io).warn(`incomplete list: ${error.message}`);
  const records = mergeByTime(
    dropSameProcess(responses).map(({ server, value }) => ({ server, events: value.events })),
  );
  if (isJson) io.stdout.write(records.map(format).join(''));
  else if (records.length > 0) io.stdout.write(formatEventTable(records, hasSeveral, io));
  if (records.length === 0) io.stderr.write('no events\n');
  return 0;
}
