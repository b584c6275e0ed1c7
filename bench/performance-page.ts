import { roundFigure } from './figures.js';
import type { Row } from './report.js';

/** A column of a table: heading, name of the figure, unit, and the divisor that converts the figure to that unit. */
type Column = readonly [head: string, figure: string, unit?: string, divisor?: number];

/** A table of a page. */
export interface Table {
  /** Name of the file in `bench/results`, without extension. */
  readonly results: string;
  readonly columns: readonly Column[];
  /** Formats the name of a row for the page. Default: unchanged. */
  readonly formatName?: (what: string) => string;
}

/** The tables of `docs/performance.md`, by the headings above them. */
export const PERFORMANCE_TABLES: Readonly<Record<string, Table>> = {
  Lookup: {
    results: 'lookup',
    columns: [
      ['repeated query', 'hotUs', 'µs'],
      ['repeated query, new object', 'newObjectUs', 'µs'],
      ['linear scan', 'linearUs', 'ms', 1000],
      ['times faster', 'timesFaster'],
      ['new query, p99', 'coldP99Us', 'µs'],
      ['deregister and register', 'leaveAndRegisterUs', 'µs'],
      ['index per replica', 'indexBytesEach', 'B'],
      ['payload per replica', 'payloadBytesEach', 'B'],
    ],
  },
  Selectors: {
    results: 'selectors',
    columns: [
      ['new selector, median', 'newP50Us', 'µs'],
      ['p99', 'newP99Us', 'µs'],
      ['slowest', 'newMaxUs', 'ms', 1000],
      ['longest turn', 'turnMaxUs', 'ms', 1000],
      ['repeated, median', 'repeatedP50Us', 'µs'],
      ['slowest', 'repeatedMaxUs', 'µs'],
    ],
  },
  '`GET /route`': {
    results: 'route',
    columns: [
      ['per second', 'perSecond'],
      ['vs. bare', 'ofBare'],
      ['median', 'p50Us', 'µs'],
      ['p99', 'p99Us', 'µs'],
      ['p99 vs. bare', 'p99OfBare'],
    ],
  },
  'What metrics cost': {
    results: 'metrics',
    columns: [
      ['CPU per request', 'cpuUs', 'µs'],
      ['vs. without', 'ofBase'],
    ],
  },
  'Open leases': {
    results: 'streams',
    columns: [
      ['heap per stream', 'heapBytesEach', 'kB', 1000],
      ['resident per stream', 'residentBytesEach', 'kB', 1000],
      ['CPU to open', 'openMs', 'ms'],
      ['CPU of a core', 'cpuPercent', '%'],
      ['vs. bare', 'cpuOfBare'],
      ['heartbeat delay, p99', 'lateP99Ms', 'ms'],
      ['heartbeat delay, max.', 'lateMaxMs', 'ms'],
    ],
  },
  'Beside 10,000 leases, and when they are cut': {
    results: 'streams',
    columns: [
      ['`/route` p99 vs. 200 leases', 'routeP99OfNoStreams'],
      ['one cut: removed after', 'cutMs', 'ms'],
      ['all cut: removed after', 'allCutMs', 'ms'],
      ['vs. bare', 'allCutOfBare'],
    ],
  },
  '`GET /watch`': {
    results: 'watch',
    columns: [
      ['change to watcher, median', 'p50Ms', 'ms'],
      ['p99', 'p99Ms', 'ms'],
      ['CPU of a core', 'cpuPercent', '%'],
      ['heap per watcher', 'heapBytesEach', 'kB', 1000],
      ['resident per watcher', 'residentBytesEach', 'kB', 1000],
      ['all have a snapshot after', 'snapshotMs', 'ms'],
      ['stall, max.', 'stallMs', 'ms'],
    ],
  },
  '`GET /registry`': {
    results: 'registry',
    columns: [
      ['bytes', 'bytes'],
      ['`JSON.stringify`', 'stringifyMs', 'ms'],
      ['unchanged', 'unchanged'],
      ['1 in 100 changed', 'oneInAHundredChanged'],
      ['all new', 'allNew'],
      ['stall, median', 'stallP50Ms', 'ms'],
      ['stall, max.', 'stallMaxMs', 'ms'],
      ['1 in 100 changed: stall, median', 'stallChangedP50Ms', 'ms'],
      ['stall, max.', 'stallChangedMaxMs', 'ms'],
    ],
  },
  'A registration storm': {
    results: 'storm',
    columns: [
      ['all registered after', 'allMs', 's', 1000],
      ['per second', 'perSecond'],
      ['vs. bare', 'ofBare'],
      ['`/route` p99', 'routeP99Ms', 'ms'],
      ['`/route` max.', 'routeMaxMs', 'ms'],
    ],
  },
  ModelInfer: {
    results: 'infer',
    columns: [
      ['per second', 'perSecond'],
      ['rival per second', 'rivalPerSecond'],
      ['vs. copying', 'ofCopying'],
      ['vs. bare call', 'ofBareCall'],
    ],
  },
  Calls: {
    results: 'calls',
    columns: [
      ['p99 with p2c', 'p2cP99Ms', 'ms'],
      ['least-request', 'leastRequestP99Ms', 'ms'],
      ['round-robin', 'roundRobinP99Ms', 'ms'],
      ['random', 'randomP99Ms', 'ms'],
      ['attempts per call with p2c', 'p2cAttempts'],
    ],
  },
  'How evenly calls are spread': {
    results: 'calls',
    columns: [
      ['p2c', 'p2cMaxOfMean'],
      ['least-request', 'leastRequestMaxOfMean'],
      ['round-robin', 'roundRobinMaxOfMean'],
      ['random', 'randomMaxOfMean'],
    ],
  },
  'Calls that keep their replica': {
    results: 'calls',
    columns: [
      ['while it is away', 'keptAwayPercent', '%'],
      ['when its successor is there', 'keptBackPercent', '%'],
    ],
  },
  'Ten real workers': {
    results: 'calls',
    columns: [
      ['one is slow: median', 'slowP50Ms', 'ms'],
      ['p99', 'slowP99Ms', 'ms'],
      ['one is killed: p99', 'killedP99Ms', 'ms'],
      ['longest', 'killedMaxMs', 'ms'],
      ['failed calls', 'killedFailed'],
      ['attempts per call', 'killedAttempts'],
    ],
    formatName: (what) => what.replace('real workers: ', ''),
  },
  'Start-up': {
    results: 'startup',
    columns: [
      ['CPU time', 'cpuMs', 'ms'],
      ['vs. bare', 'cpuTimesBare'],
      ['wall time', 'wallMs', 'ms'],
      ['vs. bare', 'wallTimesBare'],
    ],
    formatName: (what) => (what.startsWith('node') ? `\`${what}\`` : `\`anyserve ${what}\``),
  },
  Tokens: {
    results: 'token-latency',
    columns: [
      ['median', 'medianMs', 'ms'],
      ['p99', 'p99Ms', 'ms'],
    ],
  },
  Gateway: {
    results: 'gateway',
    columns: [
      ['calls/s at 32 connections', 'perSecond32'],
      ['at 256', 'perSecond256'],
      ['sequential, median', 'p50Us', 'ms', 1000],
      ['added, median', 'addedP50Us', 'ms', 1000],
      ['added, p99', 'addedP99Us', 'ms', 1000],
      ['CPU per call at 32', 'cpu32Us', 'µs'],
      ['at 256', 'cpu256Us', 'µs'],
      ['CPU per large call', 'largeCpuUs', 'µs'],
    ],
  },
  'AnyServe as a multiple of each': {
    results: 'gateway',
    columns: [
      ['calls/s at 32', 'perSecond32OfThis'],
      ['at 256', 'perSecond256OfThis'],
      ['sequential, median', 'p50OfThis'],
      ['CPU per call at 32', 'cpu32OfThis'],
      ['at 256', 'cpu256OfThis'],
      ['CPU per large call', 'largeCpuOfThis'],
      ['CPU per token', 'tokenCpuOfThis'],
    ],
  },
  'Streams and memory of gateways': {
    results: 'gateway',
    columns: [
      ['CPU per token', 'tokenCpuUs', 'µs'],
      ['token later, median', 'tokenAddedP50Us', 'ms', 1000],
      ['p99', 'tokenAddedP99Us', 'ms', 1000],
      ['memory after the start', 'idleBytes', 'MB', 1e6],
      ['after 20,000 calls', 'callsBytes', 'MB', 1e6],
      ['after large bodies and 200 streams', 'streamsBytes', 'MB', 1e6],
      ['per open stream', 'openStreamBytes', 'kB', 1000],
      ['heap growth per call', 'heapBytesPerCall', 'B'],
      ['remark', 'unfinished'],
    ],
  },
  "OpenAI's client with `createFetch`": {
    results: 'openai-fetch',
    columns: [
      ['calls/s', 'perSecond'],
      ['vs. directly', 'rateOfDirect'],
      ['CPU of the client per call', 'cpuUs', 'µs'],
      ['vs. directly', 'cpuOfDirect'],
    ],
  },
};

/** Returns a page with its tables replaced by the benchmark results. Throws when a heading or its table is missing. */
export function insertTables(
  page: string,
  tables: Readonly<Record<string, Table>>,
  readRows: (results: string) => readonly Row[],
): string {
  return Object.entries(tables).reduce((text, [heading, table]) => {
    const start = text.indexOf(`# ${heading}\n`);
    const match = /^(?:\|.*\n)+/m.exec(text.slice(start));
    if (start < 0 || !match) throw new Error(`the page has no table under "${heading}"`);
    const index = start + match.index;
    return text.slice(0, index) + formatTable(table, readRows(table.results)) + text.slice(index + match[0].length);
  }, page);
}

function formatTable({ columns, formatName = (what) => what }: Table, rows: readonly Row[]): string {
  const lines = rows
    .map((row): [string, ...string[]] => [
      formatName(row.what.replace(/\d{4,}/g, groupThousands).replace(/\b1 replicas/, '1 replica')),
      ...columns.map(([, figure, unit, divisor]) => formatCell(row[figure], unit, divisor)),
    ])
    .filter(([, ...figures]) => figures.some((figure) => figure !== ''));
  const head = ['', ...columns.map(([name]) => name)];
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

/**
 * Formats a figure with three significant digits; further digits differ from run to run. A text stays as it is. Empty when a row has no
 * such figure.
 */
function formatCell(value: number | string | undefined, unit = '', divisor = 1): string {
  if (typeof value !== 'number') return value ?? '';
  return `${groupThousands(String(roundFigure(value / divisor)))} ${unit}`.trimEnd();
}

/** Inserts thousands separators. */
function groupThousands(number: string): string {
  return number.replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ',');
}
