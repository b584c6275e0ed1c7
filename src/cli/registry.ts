import { ApiClient } from '../client/api-client.js';
import { type Capability, matches } from '../core/capability.js';
import { replicasText } from '../wire/answers.js';
import { FROM_SERVER, isJsonObject, jsonText, parseJson } from '../wire/json.js';
import { scalarText } from '../wire/replica-json.js';
import { type Command, SERVER_OPTION } from './command.js';
import { noMatchAmong } from './no-match.js';
import { coloursFor, printable, tableText } from './output.js';
import { queryFromWords } from './values.js';

/** `anyserve registry`: the replicas, all or those that match. */
export const registry: Command = {
  name: 'registry',
  usage: '[KEY=VALUE ...]',
  summary:
    'Lists the replicas in the order of registration, all or those with a capability that has all the pairs given.',
  examples: [
    ['anyserve registry', 'all replicas'],
    ['anyserve registry type=chat', 'those that can chat'],
    ['anyserve registry --json', 'the answer of the API server, for programs'],
  ],
  options: { server: SERVER_OPTION },
  maxWords: 64,
  async run(args, { stdout, stderr, env, interrupted }) {
    const query = queryFromWords(args.words);
    const api = new ApiClient(args.texts('server'));
    try {
      const all = await api.replicas({ signal: interrupted });
      const replicas = query.size === 0 ? all : all.filter(({ capabilities }) => matches(query, capabilities));
      const rows = replicas.map(({ id, endpoint, capabilities }) => [
        id,
        endpoint,
        capabilities.map(capabilityText).join('; '),
      ]);
      if (args.flag('json')) stdout.write(`${printable(replicasText(replicas))}\n`);
      else if (rows.length > 0)
        stdout.write(tableText(['REPLICA', 'ENDPOINT', 'CAPABILITIES'], rows, coloursFor(stdout, env)));
      if (replicas.length === 0 && query.size > 0) throw noMatchAmong([query], all.length);
      if (replicas.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

/** A capability as `--cap` takes it: `model=llama,type=chat`; what is no pair of texts is shown as JSON. */
function capabilityText({ source }: Capability): string {
  const object = parseJson(source, FROM_SERVER);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${scalarText(value) ?? jsonText(value)}`).join(',');
}
