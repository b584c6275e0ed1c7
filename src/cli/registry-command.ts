import type { ListedReplica } from '../api/replica-list-json.js';
import { type Capability, matches } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { formatAge } from '../core/durations.js';
import { formatScalar } from '../json/capability-json.js';
import { isJsonObject, parseJson, SERVER_JSON_LIMITS, serializeJson } from '../json/exact-json.js';
import { parseQueryWords } from './argument-parsers.js';
import type { Command } from './command.js';
import { explainNoMatch } from './no-match.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** `anyserve registry`: the replicas, all or those that match. */
export const registryCommand: Command = {
  name: 'registry',
  usage: '[KEY=VALUE ...]',
  summary:
    'Lists the replicas in the order of registration, all or those with a capability that has all the pairs given: ' +
    'their state and for how long, and how long ago they were last heard of. Only ready ones are routed to, and suspect ' +
    'ones when nothing else matches.',
  examples: [
    ['anyserve registry', 'all replicas'],
    ['anyserve registry type=chat', 'those that can chat'],
    ['anyserve registry --json', 'the answer of the API server, for programs'],
  ],
  options: SERVER_OPTIONS,
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, stderr, interrupted } = io;
    const query = parseQueryWords(args.words);
    const api = createApiClient(args, io);
    try {
      const all = await api.list({ signal: interrupted });
      const listed = query.length === 0 ? all : all.filter(({ replica }) => matches(query, replica.capabilities));
      if (args.flag('json'))
        stdout.write(`${escapeControls(`{"replicas":[${listed.map((one) => one.toText()).join(',')}]}`)}\n`);
      else if (listed.length > 0) stdout.write(formatTable(COLUMNS, listed.map(rowOf), io));
      if (listed.length === 0 && query.length > 0) throw explainNoMatch([query], all);
      if (listed.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

const COLUMNS = ['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN', 'CAPABILITIES'];

function rowOf({ replica, state = '-', stateAgeMs, lastSeenAgeMs }: ListedReplica): string[] {
  const { id, endpoint, capabilities } = replica;
  return [id, endpoint, state, ageOf(stateAgeMs), ageOf(lastSeenAgeMs), capabilities.map(capabilityText).join('; ')];
}

function ageOf(ms: number | undefined): string {
  return ms === undefined ? '-' : formatAge(ms);
}

/** A capability as `--cap` takes it: `model=llama,type=chat`; what is no pair of texts is shown as JSON. */
function capabilityText({ source }: Capability): string {
  const object = parseJson(source, SERVER_JSON_LIMITS);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${formatScalar(value) ?? serializeJson(value)}`).join(',');
}
