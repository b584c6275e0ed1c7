import { beforeEach, expect, it } from 'vitest';
import { CallLog } from '../../src/cli/call-log.js';
import { LogLines } from '../../src/cli/log-lines.js';
import type { FinishedCall } from '../../src/telemetry/finished-call.js';
import { ManualClock } from '../support/manual-clock.js';

const CALL: FinishedCall = {
  caller: undefined,
  path: '/chat/completions',
  model: 'm',
  replicaId: 'r1',
  status: 200,
  attempts: 1,
  durationMs: 12.34,
  firstByteMs: undefined,
  responseBytes: 10,
  usage: undefined,
  failure: undefined,
};

const written: string[] = [];
const stderr = { write: (text: string) => written.push(text) > 0 } as unknown as NodeJS.WriteStream;
let clock: ManualClock;
let log: CallLog;

beforeEach(() => {
  written.length = 0;
  clock = new ManualClock();
  log = createCallLog();
});

function createCallLog(options: Readonly<Record<string, string>> = {}): CallLog {
  const lines = new LogLines({ stderr, env: {} }, { getText: (name) => options[name] }, clock);
  return new CallLog(stderr, lines, clock);
}

/** Returns what was written, without the times. */
const readLines = (): string[] => written.map((text) => text.replace(/^\S+T\S+ /gm, ''));

it('writes the lines of 100 ms together', async () => {
  log.add(CALL);
  await clock.advance(60);
  log.add({ ...CALL, replicaId: undefined, model: undefined, status: 404 });
  expect(written).toEqual([]);
  await clock.advance(40);
  expect(readLines()).toEqual([
    'info /chat/completions m: 200, 12.3 ms, replica r1\ninfo /chat/completions -: 404, 12.3 ms\n',
  ]);
  await clock.advance(1000);
  log.add({ ...CALL, attempts: 2, caller: 'team', failure: 'it broke\noff' });
  await clock.advance(100);
  expect(readLines().slice(1)).toEqual([
    'warn /chat/completions m: 200, 12.3 ms, replica r1, 2 attempts, key team, it broke\\u000aoff\n',
  ]);
});

it('writes what waits at a flush, once', async () => {
  log.flush();
  log.add(CALL);
  log.flush();
  expect(written).toHaveLength(1);
  await clock.advance(1000);
  expect(written).toHaveLength(1);
});

it('writes lines early that would take more memory, whole and in order', () => {
  const failures = Array.from({ length: 1000 }, (_, call) => `${call} ${'é漢😀'.repeat(call)}`);
  for (const failure of failures) log.add({ ...CALL, failure });
  expect(written.length).toBeGreaterThan(10);
  log.flush();
  const lines = readLines().join('').split('\n').slice(0, -1);
  expect(lines.map((line) => line.slice(line.indexOf('r1, ') + 4))).toEqual(failures);
});

it('writes a line that is longer than all that wait', () => {
  log.add(CALL);
  log.add({ ...CALL, failure: 'x'.repeat(100_000) });
  expect(written.map((text) => text.length > 100_000)).toEqual([false, true]);
});

it('writes the facts of a call as JSON', () => {
  log = createCallLog({ 'log-format': 'json' });
  log.add({ ...CALL, caller: 'alice', usage: { input: 5, output: 2 }, failure: 'it broke' });
  log.flush();
  expect(JSON.parse(written.join())).toEqual({
    time: '2023-11-14T22:13:20.000Z',
    level: 'warn',
    event: 'call',
    path: '/chat/completions',
    model: 'm',
    status: 200,
    duration_ms: 12.3,
    replica: 'r1',
    attempts: 1,
    key: 'alice',
    response_bytes: 10,
    input_tokens: 5,
    output_tokens: 2,
    failure: 'it broke',
  });
});

it('leaves calls out that are below the level', () => {
  log = createCallLog({ 'log-level': 'warn' });
  log.add(CALL);
  log.add({ ...CALL, status: 502 });
  log.flush();
  expect(readLines()).toEqual(['warn /chat/completions m: 502, 12.3 ms, replica r1\n']);
});
