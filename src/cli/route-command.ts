import type { RouteResponse } from '../api/api-responses.js';
import type { ApiClient } from '../client/api-client.js';
import { sleep } from '../client/async-waits.js';
import { WARMING_RETRY_MS } from '../client/discovery.js';
import type { RouteSelection } from '../client/route-selection.js';
import type { CapabilityQuery } from '../core/capability.js';
import { escapeControls } from '../core/control-characters.js';
import { AnyserveError } from '../core/errors.js';
import { clock } from '../system.js';
import { parseQueryWords } from './argument-parsers.js';
import type { Command } from './command.js';
import { readWaitMs, waitForRoute } from './match-wait.js';
import { explainNoMatch } from './no-match.js';
import { PREFER_OPTION, readSelection, WHERE_OPTION } from './selector-options.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** Time to keep trying while the API servers have just started, in ms. */
const WARMING_TIMEOUT_MS = 2000;

/** `anyserve route`: finds a replica by capability. */
export const routeCommand: Command = {
  name: 'route',
  usage: '[KEY=VALUE ...]',
  summary: 'Finds a replica with a capability that has all KEY=VALUE pairs. Picks any one of several.',
  examples: [
    ['anyserve route type=chat', 'find any replica that offers type=chat'],
    ['anyserve route model=llama type=chat', 'find a replica with both pairs in one capability'],
    [`anyserve route type=chat --where 'ctx>=8192' --prefer zone=a`, 'find one with a long context, rather in zone a'],
    ['anyserve route --wait 60s type=chat', 'wait up to a minute until a replica offers type=chat'],
    ['anyserve route --url model=qwen2', 'print the URL of a replica with an HTTP API, for curl and the like'],
    ['anyserve route --explain type=chat gpu=h100', 'show which replicas match, or why none does'],
    ['anyserve route --json type=chat', 'print JSON'],
  ],
  options: {
    explain: {
      type: 'flag',
      description: 'print which replicas match at each API server, or why none does, instead of picking one',
    },
    url: {
      type: 'flag',
      description:
        'only replicas whose endpoint is the URL of an HTTP API, and print only the URL; when not given, these are picked ' +
        'when no other replica matches',
    },
    where: WHERE_OPTION,
    prefer: PREFER_OPTION,
    ...SERVER_OPTIONS,
    wait: {
      type: 'text',
      value: 'TIME',
      description:
        'keep asking for this long until a replica matches; when not given, 2s, and only while an API server has just ' +
        'started and replicas are still registering again',
    },
  },
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, interrupted } = io;
    const query = parseQueryWords(args.words);
    const waitMs = readWaitMs(args);
    const selection = readSelection(args, args.hasFlag('url') ? 'http' : undefined);
    if (args.hasFlag('explain') && args.isGiven('wait')) {
      throw new AnyserveError('usage', '--explain and --wait exclude each other; give one of them');
    }
    if (args.hasFlag('explain') && args.isGiven('prefer')) {
      throw new AnyserveError('usage', '--explain does not explain preferences; give it without --prefer');
    }
    const api = createApiClient(args, io);
    try {
      if (args.hasFlag('explain')) {
        // Loaded on demand, because a route doesn't need it.
        const { explainRoute } = await import('./explained-route.js');
        return await explainRoute(api, query, {
          isJson: args.hasFlag('json'),
          selector: selection.selector,
          protocol: selection.protocol,
          io,
        });
      }
      const { endpoint, replicaId } =
        waitMs === undefined
          ? await findRoute(api, query, selection, interrupted)
          : await waitForRoute(api, query, { waitMs, json: args.hasFlag('json'), selection, io });
      if (args.hasFlag('json'))
        stdout.write(`${escapeControls(JSON.stringify({ endpoint, replica_id: replicaId }))}\n`);
      else if (args.hasFlag('url')) stdout.write(`${escapeControls(endpoint)}\n`);
      else stdout.write(formatTable(['REPLICA', 'ENDPOINT'], [[replicaId, endpoint]], io));
      return 0;
    } finally {
      api.close();
    }
  },
};

/** Asks for a replica, again and again while the API servers have just started. */
async function findRoute(
  api: ApiClient,
  query: CapabilityQuery,
  selection: RouteSelection,
  signal: AbortSignal,
): Promise<RouteResponse> {
  const giveUpAtMs = clock.nowMs() + WARMING_TIMEOUT_MS;
  for (;;) {
    const result = await api.route(query, [], { signal, selection });
    if (result.kind === 'found') return result.route;
    if (!result.isWarming || clock.nowMs() + WARMING_RETRY_MS > giveUpAtMs)
      throw await explainNoMatch([query], api, signal, selection);
    await sleep(clock, WARMING_RETRY_MS, signal);
    signal.throwIfAborted();
  }
}
