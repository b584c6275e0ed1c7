import type { Row } from './report.js';

/** How a figure is written: to so many decimals, or as it is, with a unit. */
type Format = (value: number) => string;

/** A column of a table: its head, the figure that it shows, and how. */
type Column = readonly [head: string, figure: string, format: Format];

interface Table {
  /** The name of its file in `bench/results`. */
  readonly results: string;
  readonly columns: readonly Column[];
  /** What a line is called on the page; as in the results unless told. */
  readonly called?: (what: string) => string;
}

const inUnits =
  (unit: string, decimals = 0, per = 1): Format =>
  (value) =>
    `${grouped((value / per).toFixed(decimals))}${unit && ` ${unit}`}`;

/** The fewer digits before the point, the more behind it: three that count, and no zeros at the end. */
const significant =
  (unit = '', per = 1): Format =>
  (value) =>
    `${grouped(String(Number((value / per).toPrecision(3))))}${unit && ` ${unit}`}`;

const grouped = (figure: string): string => figure.replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ',');

const COUNT = inUnits('');
const RATIO = inUnits('', 2);
const SMALL_RATIO = significant();
const KB = inUnits('kB', 1, 1000);
const PERCENT = inUnits('%', 1);

/** The tables of the page, by the headings over them. */
const TABLES: Readonly<Record<string, Table>> = {
  Lookup: {
    results: 'lookup',
    columns: [
      ['a query that comes again', 'hotUs', significant('µs')],
      ['the same, made anew', 'anewUs', significant('µs')],
      ['the scan', 'linearUs', significant('ms', 1000)],
      ['times faster', 'timesFaster', COUNT],
      ['never seen, 99th percentile', 'coldP99Us', inUnits('µs')],
      ['leave and register again', 'leaveAndRegisterUs', inUnits('µs', 1)],
      ['index, a replica', 'indexBytesEach', inUnits('B')],
      ['payload, a replica', 'payloadBytesEach', inUnits('B')],
    ],
  },
  '`GET /route`': {
    results: 'route',
    columns: [
      ['a second', 'perSecond', COUNT],
      ['of bare', 'ofBare', SMALL_RATIO],
      ['median', 'p50Us', inUnits('µs')],
      ['99th percentile', 'p99Us', inUnits('µs')],
      ["of bare's", 'p99OfBare', SMALL_RATIO],
    ],
  },
  'Open leases': {
    results: 'streams',
    columns: [
      ['heap a stream', 'heapBytesEach', KB],
      ['resident', 'residentBytesEach', KB],
      ['to open it', 'openMs', inUnits('ms', 2)],
      ['of a core', 'cpuPercent', PERCENT],
      ['of bare', 'cpuOfBare', RATIO],
      ['late, 99th percentile', 'lateP99Ms', inUnits('ms')],
      ['at most', 'lateMostMs', inUnits('ms')],
    ],
  },
  'Beside 10,000 leases, and when they are cut': {
    results: 'streams',
    columns: [
      ['`/route`, 99th percentile, with few = 1', 'routeP99OfNoStreams', RATIO],
      ['one cut, gone after', 'cutMs', inUnits('ms', 1)],
      ['all cut, gone after', 'allCutMs', inUnits('ms')],
      ['of bare', 'allCutOfBare', RATIO],
    ],
  },
  '`GET /registry`': {
    results: 'registry',
    columns: [
      ['bytes', 'bytes', COUNT],
      ['`JSON.stringify`', 'stringifyMs', significant('ms')],
      ['unchanged', 'unchanged', RATIO],
      ['one in 100 changed', 'oneInAHundredChanged', RATIO],
      ['all new', 'allNew', RATIO],
      ['stall', 'stallP50Ms', inUnits('ms', 1)],
      ['at most', 'stallMostMs', inUnits('ms', 1)],
      ['with one in 100 changed', 'stallChangedP50Ms', inUnits('ms', 1)],
      ['at most', 'stallChangedMostMs', inUnits('ms', 1)],
    ],
  },
  'A registration storm': {
    results: 'storm',
    columns: [
      ['all are there after', 'allMs', inUnits('s', 1, 1000)],
      ['a second', 'perSecond', COUNT],
      ['of bare', 'ofBare', RATIO],
      ['`/route`, 99th percentile', 'routeP99Ms', inUnits('ms')],
      ['at most', 'routeMostMs', inUnits('ms')],
    ],
  },
  ModelInfer: {
    results: 'infer',
    columns: [
      ['a second', 'perSecond', significant()],
      ['the rival', 'rivalPerSecond', significant()],
      ['of copying', 'ofCopying', RATIO],
      ['of the bare call', 'ofBareCall', RATIO],
    ],
  },
  'Start-up': {
    results: 'startup',
    columns: [
      ['processor', 'cpuMs', inUnits('ms')],
      ['times bare', 'cpuTimesBare', RATIO],
      ['wall', 'wallMs', inUnits('ms')],
      ['times bare', 'wallTimesBare', RATIO],
    ],
    called: (what) => (what.startsWith('node') ? `\`${what}\`` : `\`anyserve ${what}\``),
  },
  Tokens: {
    results: 'token-latency',
    columns: [
      ['median', 'medianMs', inUnits('ms', 2)],
      ['99th percentile', 'p99Ms', inUnits('ms', 2)],
    ],
  },
};

/** The page about performance with the tables that the results of the benchmarks make. Throws for a heading without a table. */
export function withTables(page: string, rowsOf: (results: string) => readonly Row[]): string {
  return Object.entries(TABLES).reduce((text, [heading, table]) => {
    const start = text.indexOf(`# ${heading}\n`);
    const place = /^(?:\|.*\n)+/m.exec(text.slice(start));
    if (start < 0 || !place) throw new Error(`there is no table under "${heading}"`);
    const at = start + place.index;
    return text.slice(0, at) + tableOf(table, rowsOf(table.results)) + text.slice(at + place[0].length);
  }, page);
}

function tableOf({ columns, called = (what) => what }: Table, rows: readonly Row[]): string {
  const lines = rows
    .map((row): [string, ...string[]] => [
      called(countsGrouped(row.what)),
      ...columns.map(([, figure, format]) => (typeof row[figure] === 'number' ? format(row[figure]) : '')),
    ])
    .filter(([, ...figures]) => figures.some((figure) => figure !== ''));
  const head = ['', ...columns.map(([name]) => name)];
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

const countsGrouped = (what: string): string => what.replace(/\d{4,}/g, grouped).replace(/\b1 replicas/, '1 replica');
