import { type Capability, matches } from '../core/capability.js';
import { FROM_SERVER, isJsonObject, jsonText, parseJson } from '../wire/json.js';
import type { ListedReplica } from '../wire/known-replicas.js';
import { scalarText } from '../wire/replica-json.js';
import type { Command } from './command.js';
import { noMatchAmong } from './no-match.js';
import { printable } from './output.js';
import { apiClientFrom, SERVER_OPTIONS } from './server-options.js';
import { tableText } from './table.js';
import { queryFromWords } from './values.js';

/** `anyserve registry`: the replicas, all or those that match. */
export const registry: Command = {
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
    const query = queryFromWords(args.words);
    const api = apiClientFrom(args, io);
    try {
      const all = await api.list({ signal: interrupted });
      const listed = query.length === 0 ? all : all.filter(({ replica }) => matches(query, replica.capabilities));
      if (args.flag('json'))
        stdout.write(`${printable(jsonText(new Map([['replicas', listed.map(({ entry }) => entry)]])))}\n`);
      else if (listed.length > 0) stdout.write(tableText(COLUMNS, listed.map(rowOf), io));
      if (listed.length === 0 && query.length > 0) throw noMatchAmong([query], all.length);
      if (listed.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

const COLUMNS = ['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN', 'CAPABILITIES'];

function rowOf({ replica, state = '-', forMs, seenBeforeMs }: ListedReplica): string[] {
  const { id, endpoint, capabilities } = replica;
  return [id, endpoint, state, ageText(forMs), ageText(seenBeforeMs), capabilities.map(capabilityText).join('; ')];
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const;

/** A span of time in its largest unit: `3s`, `5m`, `2h`, `9d`. */
function ageText(ms: number | undefined): string {
  if (ms === undefined) return '-';
  const [unit, size] = UNITS.find(([, unitMs]) => ms >= unitMs) ?? ['s', 1000];
  return `${Math.floor(ms / size)}${unit}`;
}

/** A capability as `--cap` takes it: `model=llama,type=chat`; what is no pair of texts is shown as JSON. */
function capabilityText({ source }: Capability): string {
  const object = parseJson(source, FROM_SERVER);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${scalarText(value) ?? jsonText(value)}`).join(',');
}
