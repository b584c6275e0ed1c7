import { escapeControls } from '../core/control-characters.js';
import { clock } from '../system.js';
import { parseDurationMs, parseQueryWords } from './argument-parsers.js';
import type { Command } from './command.js';
import { explainNoMatch, fetchReplicas, waitIfWarming } from './no-match.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** `anyserve route`: one replica by what it can do. */
export const routeCommand: Command = {
  name: 'route',
  usage: '[KEY=VALUE ...]',
  summary: 'Finds one replica with a capability that has all the pairs given; of several, any one.',
  examples: [
    ['anyserve route type=chat', 'any replica that can chat'],
    ['anyserve route model=llama type=chat', 'one that can do both at once'],
    ['anyserve route --json type=chat', 'the same, for programs'],
  ],
  options: {
    ...SERVER_OPTIONS,
    wait: {
      type: 'text',
      value: 'TIME',
      description: 'how long to ask again when the API server has just started and replicas may be on their way back',
      default: '2s',
    },
  },
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, interrupted } = io;
    const query = parseQueryWords(args.words);
    const api = createApiClient(args, io);
    try {
      const giveUpAtMs = clock.nowMs() + parseDurationMs('wait', args.text('wait') ?? '');
      let answer = await api.route(query, [], { signal: interrupted });
      while (answer.kind === 'none' && (await waitIfWarming([query], api, { giveUpAtMs, signal: interrupted }))) {
        answer = await api.route(query, [], { signal: interrupted });
      }
      if (answer.kind === 'none') throw explainNoMatch([query], await fetchReplicas(api, interrupted));
      const { endpoint, replicaId } = answer.route;
      if (args.flag('json')) stdout.write(`${escapeControls(JSON.stringify({ endpoint, replica_id: replicaId }))}\n`);
      else stdout.write(formatTable(['REPLICA', 'ENDPOINT'], [[replicaId, endpoint]], io));
      return 0;
    } finally {
      api.close();
    }
  },
};
