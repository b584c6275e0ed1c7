import { beforeEach, expect, it } from 'vitest';
import { CallLog } from '../../src/cli/call-log.js';
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
  log = new CallLog({ stderr, env: {} }, clock);
});

/** Returns what was written, without the times of day. */
const readLines = (): string[] => written.map((text) => text.replace(/^\d\d:\d\d:\d\d /gm, ''));

it('writes the lines of 100 ms together', async () => {
  log.add(CALL);
  await clock.advance(60);
  log.add({ ...CALL, replicaId: undefined, model: undefined, status: 404 });
  expect(written).toEqual([]);
  await clock.advance(40);
  expect(readLines()).toEqual(['/chat/completions m: 200, 12.3 ms, replica r1\n/chat/completions -: 404, 12.3 ms\n']);
  await clock.advance(1000);
  log.add({ ...CALL, attempts: 2, caller: 'team', failure: 'it broke\noff' });
  await clock.advance(100);
  expect(readLines().slice(1)).toEqual([
    '/chat/completions m: 200, 12.3 ms, replica r1, 2 attempts, key team, it broke\\u000aoff\n',
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

it('does not let lines fill the memory', () => {
  for (let calls = 0; calls < 2000; calls++) log.add(CALL);
  expect(written).not.toEqual([]);
});
