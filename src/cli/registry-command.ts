import type { ListedReplica } from '../api/replica-list-json.js';
import { type Capability, matches } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { formatAge } from '../core/durations.js';
import { formatScalar } from '../json/capability-json.js';
import { parseJson, SERVER_JSON_LIMITS } from '../json/exact-json.js';
import { isJsonObject, serializeJson } from '../json/json-value.js';
import { parseQueryWords } from './argument-parsers.js';
import type { Command } from './command.js';
import { explainNoMatch } from './no-match.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** `anyserve registry`: lists all replicas, or those that match. */
export const registryCommand: Command = {
  name: 'registry',
  usage: '[KEY=VALUE ...]',
  summary:
    'Lists replicas in order of registration, with their state, the time since it changed, and the time since the last ' +
    'heartbeat. With KEY=VALUE pairs, lists only replicas with a capability that has all pairs. Requests are routed to ' +
    'ready replicas, and to suspect ones when no ready one matches.',
  examples: [
    ['anyserve registry', 'list all replicas'],
    ['anyserve registry type=chat', 'list replicas that offer type=chat'],
    ['anyserve registry --json', 'print the response of the API server'],
  ],
  options: SERVER_OPTIONS,
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, stderr, interrupted } = io;
    const query = parseQueryWords(args.words);
    const api = createApiClient(args, io);
    try {
      const all = await api.listReplicaDetails({ signal: interrupted });
      const listed = query.length === 0 ? all : all.filter(({ replica }) => matches(query, replica.capabilities));
      if (args.hasFlag('json'))
        stdout.write(`${escapeControls(`{"replicas":[${listed.map((one) => one.toText()).join(',')}]}`)}\n`);
      else if (listed.length > 0) stdout.write(formatTable(COLUMNS, listed.map(toRow), io));
      if (listed.length === 0 && query.length > 0) throw explainNoMatch([query], all);
      if (listed.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

const COLUMNS = ['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN', 'CAPABILITIES'];

function toRow({ replica, state = '-', stateAgeMs, lastSeenAgeMs }: ListedReplica): string[] {
  const { id, endpoint, capabilities } = replica;
  return [
    id,
    endpoint,
    state,
    formatOptionalAge(stateAgeMs),
    formatOptionalAge(lastSeenAgeMs),
    capabilities.map(formatCapability).join('; '),
  ];
}

function formatOptionalAge(ms: number | undefined): string {
  return ms === undefined ? '-' : formatAge(ms);
}

/** Formats a capability as `--cap` accepts it, such as `model=llama,type=chat`. Values other than scalars are JSON. */
function formatCapability({ source }: Capability): string {
  const object = parseJson(source, SERVER_JSON_LIMITS);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${formatScalar(value) ?? serializeJson(value)}`).join(',');
}
