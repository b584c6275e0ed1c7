import { formatState } from '../api/replica-list-json.js';
import type { MergedReplica } from '../client/merged-list.js';
import { escapeControls } from '../core/control-characters.js';
import { formatAge } from '../core/durations.js';
import { formatCapabilities } from '../json/capability-json.js';
import type { CommandIo } from './command.js';
import { formatTable } from './table.js';

/** Forms of a list of replicas, other than the table that fits the terminal. */
export const REGISTRY_OUTPUTS = ['wide', 'json', 'name'] as const;

export type RegistryOutput = (typeof REGISTRY_OUTPUTS)[number];

/** A column of the table: its title, and the text of its cell. */
type Column = readonly [title: string, format: (row: MergedReplica) => string];

/** Formats replicas. `serverCount` is the number of API servers that were asked. */
export function formatRegistry(
  replicas: readonly MergedReplica[],
  serverCount: number,
  { output, io }: { readonly output: RegistryOutput | undefined; readonly io: Pick<CommandIo, 'stdout' | 'env'> },
): string {
  if (output === 'json') return `${escapeControls(formatJson(replicas, serverCount))}\n`;
  if (output === 'name') return replicas.map(({ listed }) => `${escapeControls(listed.replica.id)}\n`).join('');
  if (replicas.length === 0) return '';
  const isWide = output === 'wide';
  const columns = listColumns(replicas, serverCount, isWide);
  const rows = replicas.map((row) => columns.map(([, format]) => format(row)));
  return formatTable(
    columns.map(([title]) => title),
    rows,
    io,
    { isTruncated: !isWide },
  );
}

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
 * Returns the columns of the table. With several API servers, SERVERS has the number of those that list the replica. RUNNING and
 * WAITING are there if a replica reports its load.
 */
function listColumns(replicas: readonly MergedReplica[], serverCount: number, isWide: boolean): readonly Column[] {
  const hasLoads = replicas.some(({ listed }) => listed.load);
  const loads: readonly Column[] = [
    ['RUNNING', ({ listed }) => formatOptional(listed.load?.running, String)],
    ['WAITING', ({ listed }) => formatOptional(listed.load?.waiting, String)],
  ];
  const details: readonly Column[] = [
    ['LIMIT', ({ listed }) => formatOptional(listed.load?.limit, String)],
    ['WEIGHT', ({ listed }) => String(listed.weight)],
    ['CORDON REASON', ({ listed }) => (listed.cordon?.cordoned && listed.cordon.reason) || '-'],
  ];
  const servers: Column = [
    'SERVERS',
    ({ servers: { length }, isConflict }) => `${length}/${serverCount}${isConflict ? ' conflict' : ''}`,
  ];
  return [
    ['REPLICA', ({ listed }) => listed.replica.id],
    ['ENDPOINT', ({ listed }) => listed.replica.endpoint],
    ['STATE', ({ listed }) => formatState(listed)],
    ['SINCE', ({ listed }) => formatOptional(listed.stateAgeMs, formatAge)],
    ['SEEN', ({ listed }) => formatOptional(listed.lastSeenAgeMs, formatAge)],
    ...(hasLoads || isWide ? loads : []),
    ...(isWide ? details : []),
    ...(serverCount > 1 ? [servers] : []),
    ['CAPABILITIES', ({ listed }) => formatCapabilities(listed.replica.capabilities)],
  ];
}

function formatOptional(value: number | undefined, format: (value: number) => string): string {
  return value === undefined ? '-' : format(value);
}
