import { toExplainedReplica } from '../api/replica-list-json.js';
import type { MergedReplica } from '../client/merged-list.js';
import { escapeControls } from '../core/control-characters.js';
import { formatAge } from '../core/durations.js';
import { explainQuery } from '../core/explainer.js';
import { matchesSelector } from '../core/selector.js';
import { parseQueryWords } from './argument-parsers.js';
import type { Command, CommandIo } from './command.js';
import { createNoMatchFailure, createSelectorMismatch } from './no-match.js';
import { createLog } from './output.js';
import { formatCapabilities, formatState } from './replica-text.js';
import { readSelector, WHERE_OPTION } from './selector-options.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

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
    ['anyserve registry --json', 'print the response of the API server'],
  ],
  options: {
    watch: {
      type: 'flag',
      description:
        'print the replicas and then each change, as lines: + added, ~ changed, - removed; until interrupted',
    },
    where: WHERE_OPTION,
    ...SERVER_OPTIONS,
  },
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const { stdout, stderr, interrupted } = io;
    const query = parseQueryWords(args.words);
    const selector = readSelector(args, 'where');
    const isFiltered = query.length > 0 || selector.terms.length > 0;
    const api = createApiClient(args, io);
    try {
      if (args.hasFlag('watch')) {
        // Loaded on demand, because the list doesn't need it.
        const { watchRegistry } = await import('./watched-registry.js');
        return await watchRegistry(api, { query, selector }, { isJson: args.hasFlag('json'), io });
      }
      const { replicas, serverCount, failures } = await api.listReplicas({ signal: interrupted });
      for (const { error } of failures) createLog(io).warn(`incomplete list: ${error.message}`);
      // The empty query matches no replica without capabilities, but the list has it.
      const isShown = ({ listed }: MergedReplica): boolean =>
        !isFiltered || matchesSelector(query, selector, listed.replica.capabilities);
      const matching = replicas.filter(isShown);
      if (args.hasFlag('json')) stdout.write(`${escapeControls(formatJson(matching, serverCount))}\n`);
      else if (matching.length > 0) stdout.write(formatReplicas(matching, serverCount, io));
      if (matching.length === 0 && isFiltered) {
        const explained = replicas.map(({ listed }) => toExplainedReplica(listed));
        const explanation = explainQuery(query, explained, { selector });
        if (explanation.selectorMiss) throw createSelectorMismatch([query], selector, explanation);
        throw createNoMatchFailure([query], [explanation]);
      }
      if (matching.length === 0) stderr.write('no replica is registered\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

/** Formats the response of one API server, or the merged lists of several, with the servers of each replica. */
function formatJson(replicas: readonly MergedReplica[], serverCount: number): string {
  const entries = replicas.map(({ listed, servers, isConflict }) => {
    if (serverCount === 1) return listed.toText();
    const details = { servers: servers.map(({ name }) => name), ...(isConflict && { conflict: true }) };
    return `${listed.toText().slice(0, -1)},${JSON.stringify(details).slice(1)}`;
  });
  return `{"replicas":[${entries.join(',')}]}`;
}

/**
 * Formats a table. With several API servers, the column SERVERS has the number of those that list the replica. The columns
 * RUNNING and WAITING are there if a replica reports its load.
 */
function formatReplicas(replicas: readonly MergedReplica[], serverCount: number, io: CommandIo): string {
  const hasServers = serverCount > 1;
  const hasLoads = replicas.some(({ listed }) => listed.load);
  const columns = [
    ...['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN'],
    ...(hasLoads ? ['RUNNING', 'WAITING'] : []),
    ...(hasServers ? ['SERVERS'] : []),
    'CAPABILITIES',
  ];
  const rows = replicas.map(({ listed, servers, isConflict }) => {
    const { replica, stateAgeMs, lastSeenAgeMs, load } = listed;
    const serverCell = `${servers.length}/${serverCount}${isConflict ? ' conflict' : ''}`;
    return [
      replica.id,
      replica.endpoint,
      formatState(listed),
      formatOptionalAge(stateAgeMs),
      formatOptionalAge(lastSeenAgeMs),
      ...(hasLoads ? [formatOptionalCount(load?.running), formatOptionalCount(load?.waiting)] : []),
      ...(hasServers ? [serverCell] : []),
      formatCapabilities(replica.capabilities),
    ];
  });
  return formatTable(columns, rows, io);
}

function formatOptionalAge(ms: number | undefined): string {
  return ms === undefined ? '-' : formatAge(ms);
}

function formatOptionalCount(count: number | undefined): string {
  return count === undefined ? '-' : String(count);
}
