import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createLeaseReporter } from '../../src/cli/lease-reporter.js';
import { createChangePrinter } from '../../src/cli/output.js';
import type { ScalarPairs } from '../../src/json/capability-json.js';
import { replica } from '../support/replicas.js';

it.each<[string, readonly ScalarPairs[], string]>([
  ['all of a few capabilities', [{ model: 'a' }, { model: 'b' }], '{"model":"a"} {"model":"b"}'],
  ['that there are none', [], 'no capabilities'],
  [
    'the first of many capabilities',
    Array.from({ length: 2000 }, (_, index) => ({ m: index })),
    '{"m":0} {"m":1} {"m":2} {"m":3} {"m":4} {"m":5} {"m":6} {"m":7} and 1992 more',
  ],
  ['none after a long one', [{ a: '1' }, { a: 'x'.repeat(5000) }, { a: '2' }], '{"a":"1"} and 2 more'],
])('the line for an update shows %s', (_description, capabilities, text) => {
  const stdout = new PassThrough();
  const report = createLeaseReporter(createChangePrinter(false, { stdout, env: {} }));
  report({ kind: 'updated', server: 'http://api' }, replica('r1', ...capabilities));
  expect(String(stdout.read())).toBe(`updated r1 at http://api: ${text}\n`);
});

it('shows when a superseded process looks its id up, and not that it tries again', () => {
  const stdout = new PassThrough();
  const report = createLeaseReporter(createChangePrinter(true, { stdout, env: {} }));
  report({ kind: 'superseded', server: 'http://api', checkInMs: 2000 }, replica('r1'));
  expect(JSON.parse(String(stdout.read()))).toMatchObject({
    state: 'superseded',
    replica_id: 'r1',
    server: 'http://api',
    check_in_ms: 2000,
  });
});

it('shows that only one API server has the registration, and that it is shared again', () => {
  const stdout = new PassThrough();
  const report = createLeaseReporter(createChangePrinter(false, { stdout, env: {} }));
  report({ kind: 'local', server: 'http://api', reason: 'etcd is full' }, replica('r1'));
  report({ kind: 'shared', server: 'http://api' }, replica('r1'));
  expect(String(stdout.read())).toBe(
    'local r1: only http://api has the registration, and no other API server of its registry: etcd is full\n' +
      'shared r1: all API servers of the registry of http://api can have the registration again\n',
  );
});
