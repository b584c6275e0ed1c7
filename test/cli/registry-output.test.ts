import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatRegistry, type RegistryOutput } from '../../src/cli/registry-output.js';
import { type SortColumn, sortReplicas } from '../../src/cli/replica-order.js';
import type { MergedReplica } from '../../src/client/merged-list.js';
import { listReplica, replica } from '../support/replicas.js';

function row(...[of, more]: Parameters<typeof listReplica>): MergedReplica {
  return { listed: listReplica(of, more), servers: [], isConflict: false };
}

const ROWS = [
  row(replica('b', { type: 'chat' }), { stateAgeMs: 2000, load: { running: 1, waiting: 0, limit: 4 } }),
  row(replica('c', { type: 'chat' }), { stateAgeMs: 1000, state: 'unready' }),
  row(replica('a', { type: 'chat' }), { load: { running: 7, waiting: 2 }, weight: 3, stateAgeMs: 3000 }),
];

/** Formats the rows for a terminal that is 60 columns wide. */
function format(output: RegistryOutput | undefined, rows: readonly MergedReplica[] = ROWS): string[] {
  const stdout = Object.assign(new Writable(), { isTTY: true, columns: 60 });
  return formatRegistry(rows, 1, { output, io: { stdout, env: { NO_COLOR: '1' } } }).split('\n');
}

describe('formatRegistry', () => {
  it('truncates a table to the terminal, but not with wide, which has more columns', () => {
    expect(Math.max(...format(undefined).map((line) => line.length))).toBeLessThanOrEqual(60);
    const cordon = { cordoned: true, reason: 'GPU 3 has errors', atMs: 1 };
    expect(format('wide', [...ROWS, row(replica('d'), { cordon })])).toEqual([
      'REPLICA   ENDPOINT       STATE            SINCE   SEEN   RUNNING   WAITING   LIMIT   WEIGHT   CORDON REASON      CAPABILITIES',
      'b         b.test:50051   ready            2s      0s     1         0         4       1        -                  type=chat',
      'c         c.test:50051   unready          1s      0s     -         -         -       1        -                  type=chat',
      'a         a.test:50051   ready            3s      0s     7         2         -       3        -                  type=chat',
      'd         d.test:50051   ready,cordoned   0s      0s     -         -         -       1        GPU 3 has errors',
      '',
    ]);
  });

  it('prints one id per line with name', () => {
    expect(format('name')).toEqual(['b', 'c', 'a', '']);
  });

  it('prints nothing for no replicas, but an object with json', () => {
    expect(format(undefined, [])).toEqual(['']);
    expect(format('wide', [])).toEqual(['']);
    expect(format('json', [])).toEqual(['{"replicas":[]}', '']);
  });
});

it('sorts names up, times from the most recent one, and calls from the highest number, with unknown values last', () => {
  const sort = (column: SortColumn): string =>
    sortReplicas(ROWS, column)
      .map(({ listed }) => listed.replica.id)
      .join('');
  expect([sort('id'), sort('endpoint'), sort('state')]).toEqual(['abc', 'abc', 'bac']);
  expect([sort('since'), sort('seen')]).toEqual(['cba', 'bca']);
  expect([sort('running'), sort('waiting')]).toEqual(['abc', 'abc']);
});
