import { sleep } from '../client/async-waits.js';
import { WARMING_RETRY_MS } from '../client/discovery.js';
import { escapeControls } from '../core/control-characters.js';
import { clock } from '../system.js';
import { parseDurationMs, parseQueryWords } from './argument-parsers.js';
import type { Command } from './command.js';
import { explainNoMatch } from './no-match.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** `anyserve route`: finds a replica by capability. */
export const routeCommand: Command = {
  name: 'route',
  usage: '[KEY=VALUE ...]',
  summary: 'Finds a replica with a capability that has all KEY=VALUE pairs. Picks any one of several.',
  examples: [
    ['anyserve route type=chat', 'find any replica that offers type=chat'],
    ['anyserve route model=llama type=chat', 'find a replica with both pairs in one capability'],
    ['anyserve route --explain type=chat gpu=h100', 'show which replicas match, or why none does'],
    ['anyserve route --json type=chat', 'print JSON'],
  ],
  options: {
    explain: {
      type: 'flag',
      description: 'print which replicas match at each API server, or why none does, instead of picking one',
    },
    ...SERVER_OPTIONS,
    wait: {
      type: 'text',
      value: 'TIME',
      description: 'time to keep trying when the API server has just started and replicas are still registering again',
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
      if (args.hasFlag('explain')) {
        // Loaded on demand, because a route doesn't need it.
        const { explainRoute } = await import('./explained-route.js');
        return await explainRoute(api, query, { isJson: args.hasFlag('json'), io });
      }
      const giveUpAtMs = clock.nowMs() + parseDurationMs('wait', args.getText('wait') ?? '');
      let response = await api.route(query, [], { signal: interrupted });
      while (response.kind === 'none' && response.isWarming && clock.nowMs() + WARMING_RETRY_MS <= giveUpAtMs) {
        await sleep(clock, WARMING_RETRY_MS, interrupted);
        interrupted.throwIfAborted();
        response = await api.route(query, [], { signal: interrupted });
      }
      if (response.kind === 'none') throw await explainNoMatch([query], api, interrupted);
      const { endpoint, replicaId } = response.route;
      if (args.hasFlag('json'))
        stdout.write(`${escapeControls(JSON.stringify({ endpoint, replica_id: replicaId }))}\n`);
      else stdout.write(formatTable(['REPLICA', 'ENDPOINT'], [[replicaId, endpoint]], io));
      return 0;
    } finally {
      api.close();
    }
  },
};
