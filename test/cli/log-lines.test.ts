import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createLog, LogLines } from '../../src/cli/log-lines.js';
import { ManualClock } from '../support/manual-clock.js';

/** Creates the format of a log with these options. */
function createLines(options: Readonly<Record<string, string>> = {}): LogLines {
  const stderr = new PassThrough();
  return new LogLines({ stderr, env: {} }, { getText: (name) => options[name] }, new ManualClock());
}

it('a line of text has the date, the time with its zone, the level and the message', () => {
  expect(createLines().format('warn', 'it\nbroke')).toMatch(
    /^2023-11-1\dT\d\d:\d\d:20[+-]\d\d:\d\d warn it\\u000abroke\n$/,
  );
});

it('a line of JSON has the time, the level, the event, its fields and the message', () => {
  const line = createLines({ 'log-format': 'json' }).format('info', 'removed "r1"', {
    event: 'removed',
    replica: 'r1',
  });
  expect(line).toBe(
    '{"time":"2023-11-14T22:13:20.000Z","level":"info","event":"removed","replica":"r1","message":"removed \\"r1\\""}\n',
  );
});

it('a line of JSON stays on one line, and long strings are cut', () => {
  const lines = createLines({ 'log-format': 'json' });
  const line = lines.format('info', 'a\u2028b', { event: 'x', error: 'e'.repeat(100_000) });
  expect(line).toContain('a\\u2028b');
  expect(JSON.parse(line)).toMatchObject({ message: 'a\u2028b', error: `${'e'.repeat(1024)}...` });
});

it('lines below the level are left out', () => {
  const stderr = new PassThrough();
  const log = createLog({ stderr, env: {} }, { getText: (name) => (name === 'log-level' ? 'warn' : undefined) });
  log.info('one');
  log.warn('two');
  expect(String(stderr.read())).toMatch(/^\S+ warn two\n$/);
});

it.each([
  ['log-format', 'xml', '--log-format "xml": give one of text, json'],
  ['log-level', 'debug', '--log-level "debug": give one of info, warn, error'],
])('refuses --%s %s', (option, value, message) => {
  expect(() => createLines({ [option]: value })).toThrow(message);
});
