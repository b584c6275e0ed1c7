import type { MergedReplica } from '../client/merged-list.js';
import { AnyserveError } from '../core/errors.js';
import { matchesSelector } from '../core/selector.js';
import { parseChoice, parseQueryWords } from './argument-parsers.js';
import type { Arguments, Command } from './command.js';
import { createLog } from './log-lines.js';
import { createListMismatch } from './no-match.js';
import { formatRegistry, REGISTRY_OUTPUTS, type RegistryOutput } from './registry-output.js';
import { SORT_COLUMNS, type SortColumn, sortReplicas } from './replica-order.js';
import { readSelector, WHERE_OPTION } from './selector-options.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';

/** `anyserve registry`: lists all replicas, or those that match. */
export const registryCommand: Command = {
  name: 'registry',
  usage: '[KEY=VALUE ...]',
  summary:
    'Lists replicas in order of registration, with their state, the time since it changed, and the time since the last ' +
    'heartbeat. RUNNING and WAITING are the calls of replicas that report them. With KEY=VALUE pairs, lists only replicas with a capability that has all pairs. Requests are routed to ' +
    'ready replicas, and to suspect ones when no ready one matches, but never to cordoned ones.',
  examples: [
    ['anyserve registry', 'list all replicas'],
    ['anyserve registry type=chat', 'list replicas that offer type=chat'],
    [`anyserve registry --where 'gpu in (a100,h100)'`, 'list replicas with one of these values'],
    ['anyserve registry --watch type=chat', 'print them, and each change as it happens'],
    ['anyserve registry --sort waiting', 'list the replicas with the longest queues first'],
    ['anyserve registry type=chat -o name', 'print only the ids, one per line'],
    ['anyserve registry --json', 'print the response of the API server'],
  ],
  options: {
    watch: {
      type: 'flag',
      description:
        'print the replicas and then each change, as lines: + added, ~ changed, - removed; until interrupted',
    },
    where: WHERE_OPTION,
    output: {
      type: 'text',
      letter: 'o',
      value: 'FORM',
      description:
        'wide: complete cells and more columns; json: as --json; name: ids; when not given, a table that fits the terminal',
      choices: REGISTRY_OUTPUTS,
    },
    sort: {
      type: 'text',
      value: 'COLUMN',
      description: `sort by ${SORT_COLUMNS.join(', ')}; when not given, in order of registration`,
      choices: SORT_COLUMNS,
    },
    ...SERVER_OPTIONS,
  },
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, stderr, interrupted } = io;
    const query = parseQueryWords(args.words);
    const selector = readSelector(args, 'where');
    const { output, sort, isWatched } = readOutputOptions(args);
    const isFiltered = query.length > 0 || selector.terms.length > 0;
    const api = createApiClient(args, io);
    try {
      if (isWatched) {
        // Loaded on demand, because the list doesn't need it.
        const { watchRegistry } = await import('./watched-registry.js');
        return await watchRegistry(api, { query, selector }, { isJson: output === 'json', io });
      }
      const { replicas, serverCount, failures } = await api.listReplicas({ signal: interrupted });
      for (const { error } of failures) createLog(io).warn(`incomplete list: ${error.message}`);
      // The empty query matches no replica without capabilities, but the list has it.
      const isShown = ({ listed }: MergedReplica): boolean =>
        !isFiltered || matchesSelector(query, selector, listed.replica.capabilities);
      const matching = replicas.filter(isShown);
      const sorted = sort ? sortReplicas(matching, sort) : matching;
      stdout.write(formatRegistry(sorted, serverCount, { output, io }));
      if (matching.length === 0 && isFiltered) throw createListMismatch(query, selector, replicas);
      if (matching.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

/** How to print the replicas. */
interface OutputOptions {
  readonly output: RegistryOutput | undefined;
  readonly sort: SortColumn | undefined;
  readonly isWatched: boolean;
}

/** Reads how to print the replicas. Throws `usage`, also for options that exclude each other. */
function readOutputOptions(args: Arguments): OutputOptions {
  const output = readOutput(args);
  const sortText = args.getText('sort');
  const sort = sortText === undefined ? undefined : parseChoice('sort', sortText, SORT_COLUMNS);
  const isWatched = args.hasFlag('watch');
  const excluded = sort ? '--sort' : output === 'json' || !output ? undefined : `--output ${output}`;
  if (isWatched && excluded) {
    throw new AnyserveError('usage', `--watch prints changes as they happen; give it without ${excluded}`);
  }
  return { output, sort, isWatched };
}

/** Reads the form of the list. An option on the command line has precedence over a variable. */
function readOutput(args: Arguments): RegistryOutput | undefined {
  const text = args.getText('output');
  const output = text === undefined ? undefined : parseChoice('output', text, REGISTRY_OUTPUTS);
  if (args.isGiven('json') && args.isGiven('output') && output !== 'json') {
    throw new AnyserveError('usage', `--json and --output ${output} exclude each other; give one of them`);
  }
  if (args.isGiven('json')) return 'json';
  return output ?? (args.hasFlag('json') ? 'json' : undefined);
}
