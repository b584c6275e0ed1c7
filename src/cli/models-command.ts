import { escapeControls } from '../core/control-characters.js';
import { matchesSelector } from '../core/selector.js';
import { parseQueryWords } from './argument-parsers.js';
import type { Command, CommandIo } from './command.js';
import { createLog } from './log-lines.js';
import { countOffers, type ModelOffer } from './model-offers.js';
import { createListMismatch } from './no-match.js';
import { readSelector, WHERE_OPTION } from './selector-options.js';
import { createApiClient, SERVER_OPTIONS } from './server-options.js';
import { formatTable } from './table.js';

/** `anyserve models`: lists the models that replicas offer. */
export const modelsCommand: Command = {
  name: 'models',
  usage: '[KEY=VALUE ...]',
  summary:
    'Lists the models that replicas offer, by the pairs model and type of their capabilities. READY is the number of ' +
    'replicas that get calls; REPLICAS includes those that are suspect, unready, draining or cordoned. RUNNING and WAITING ' +
    'are the calls at the replicas that report them, for all models of a replica. With KEY=VALUE pairs, counts only ' +
    'capabilities that have all pairs.',
  examples: [
    ['anyserve models', 'list all models'],
    ['anyserve models type=chat', 'list the models for chats'],
    [`anyserve models --where 'ctx>=32768'`, 'list the models with a long context'],
    ['anyserve models --json', 'print JSON'],
  ],
  options: { where: WHERE_OPTION, ...SERVER_OPTIONS },
  maxWords: 64,
  words: [{ suggests: 'pair' }],
  async run(args, io) {
    const query = parseQueryWords(args.words);
    const selector = readSelector(args, 'where');
    const api = createApiClient(args, io);
    try {
      const { replicas, failures } = await api.listReplicas({ signal: io.interrupted });
      for (const { error } of failures) createLog(io).warn(`incomplete list: ${error.message}`);
      const offers = countOffers(replicas, (capability) => matchesSelector(query, selector, [capability]));
      if (args.hasFlag('json')) io.stdout.write(`${escapeControls(JSON.stringify({ models: offers }))}\n`);
      else if (offers.length > 0) io.stdout.write(formatOffers(offers, io));
      if (offers.length > 0) return 0;
      if (query.length > 0 || selector.terms.length > 0) throw createListMismatch(query, selector, replicas);
      io.stderr.write('no replica offers anything\n');
      return 0;
    } finally {
      api.close();
    }
  },
};

function formatOffers(offers: readonly ModelOffer[], io: CommandIo): string {
  const hasLoads = offers.some(({ running }) => running !== undefined);
  const head = ['MODEL', 'TYPE', 'READY', 'REPLICAS', ...(hasLoads ? ['RUNNING', 'WAITING'] : [])];
  const rows = offers.map(({ model, type, ready, replicas, running, waiting }) => [
    ...[model, type, ready, replicas, ...(hasLoads ? [running, waiting] : [])].map((cell) => String(cell ?? '-')),
  ]);
  return formatTable(head, rows, io);
}
