import { rounded } from './figures.js';
import type { Row } from './report.js';

/** A column of a table: its head, the figure that it shows, and in which unit; `per` of what the figure counts make one of it. */
type Column = readonly [head: string, figure: string, unit?: string, per?: number];

interface Table {
  /** The name of its file in `bench/results`. */
  readonly results: string;
  readonly columns: readonly Column[];
  /** What a line is called on the page; as in the results unless told. */
  readonly called?: (what: string) => string;
}

/** The tables of the page, by the headings over them. */
const TABLES: Readonly<Record<string, Table>> = {
  Lookup: {
    results: 'lookup',
    columns: [
      ['a query that comes again', 'hotUs', 'µs'],
      ['the same, made anew', 'anewUs', 'µs'],
      ['the scan', 'linearUs', 'ms', 1000],
      ['times faster', 'timesFaster'],
      ['never seen, 99th percentile', 'coldP99Us', 'µs'],
      ['leave and register again', 'leaveAndRegisterUs', 'µs'],
      ['index, a replica', 'indexBytesEach', 'B'],
      ['payload, a replica', 'payloadBytesEach', 'B'],
    ],
  },
  '`GET /route`': {
    results: 'route',
    columns: [
      ['a second', 'perSecond'],
      ['of bare', 'ofBare'],
      ['median', 'p50Us', 'µs'],
      ['99th percentile', 'p99Us', 'µs'],
      ["of bare's", 'p99OfBare'],
    ],
  },
  'Open leases': {
    results: 'streams',
    columns: [
      ['heap a stream', 'heapBytesEach', 'kB', 1000],
      ['resident', 'residentBytesEach', 'kB', 1000],
      ['to open it', 'openMs', 'ms'],
      ['of a core', 'cpuPercent', '%'],
      ['of bare', 'cpuOfBare'],
      ['late, 99th percentile', 'lateP99Ms', 'ms'],
      ['at most', 'lateMostMs', 'ms'],
    ],
  },
  'Beside 10,000 leases, and when they are cut': {
    results: 'streams',
    columns: [
      ['`/route`, 99th percentile, with few = 1', 'routeP99OfNoStreams'],
      ['one cut, gone after', 'cutMs', 'ms'],
      ['all cut, gone after', 'allCutMs', 'ms'],
      ['of bare', 'allCutOfBare'],
    ],
  },
  '`GET /registry`': {
    results: 'registry',
    columns: [
      ['bytes', 'bytes'],
      ['`JSON.stringify`', 'stringifyMs', 'ms'],
      ['unchanged', 'unchanged'],
      ['one in 100 changed', 'oneInAHundredChanged'],
      ['all new', 'allNew'],
      ['stall', 'stallP50Ms', 'ms'],
      ['at most', 'stallMostMs', 'ms'],
      ['with one in 100 changed', 'stallChangedP50Ms', 'ms'],
      ['at most', 'stallChangedMostMs', 'ms'],
    ],
  },
  'A registration storm': {
    results: 'storm',
    columns: [
      ['all are there after', 'allMs', 's', 1000],
      ['a second', 'perSecond'],
      ['of bare', 'ofBare'],
      ['`/route`, 99th percentile', 'routeP99Ms', 'ms'],
      ['at most', 'routeMostMs', 'ms'],
    ],
  },
  ModelInfer: {
    results: 'infer',
    columns: [
      ['a second', 'perSecond'],
      ['the rival', 'rivalPerSecond'],
      ['of copying', 'ofCopying'],
      ['of the bare call', 'ofBareCall'],
    ],
  },
  'Start-up': {
    results: 'startup',
    columns: [
      ['processor', 'cpuMs', 'ms'],
      ['times bare', 'cpuTimesBare'],
      ['wall', 'wallMs', 'ms'],
      ['times bare', 'wallTimesBare'],
    ],
    called: (what) => (what.startsWith('node') ? `\`${what}\`` : `\`anyserve ${what}\``),
  },
  Tokens: {
    results: 'token-latency',
    columns: [
      ['median', 'medianMs', 'ms'],
      ['99th percentile', 'p99Ms', 'ms'],
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
      called(row.what.replace(/\d{4,}/g, grouped).replace(/\b1 replicas/, '1 replica')),
      ...columns.map(([, figure, unit, per]) => cell(row[figure], unit, per)),
    ])
    .filter(([, ...figures]) => figures.some((figure) => figure !== ''));
  const head = ['', ...columns.map(([name]) => name)];
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

/** Three digits that count: the next would be another in the next run. Empty where a line has no such figure. */
function cell(value: number | string | undefined, unit = '', per = 1): string {
  return typeof value === 'number' ? `${grouped(String(rounded(value / per)))} ${unit}`.trimEnd() : '';
}

/** A number with its thousands set apart. */
function grouped(number: string): string {
  return number.replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ',');
}
