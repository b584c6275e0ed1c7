import { afterEach, expect, it } from 'vitest';
import { EngineLoad } from '../../../src/client/engine/engine-load.js';
import { ManualClock } from '../../support/manual-clock.js';

const readers: EngineLoad[] = [];

afterEach(() => {
  for (const reader of readers.splice(0)) reader.stop();
});

const format = (running: number): string => `tgi_batch_current_size ${running}\ntgi_queue_size 1\n`;

/** Starts a reader with a manual clock. `response` is the next response: a text, undefined for none, or an error. */
async function startReader(response: string | undefined | Error) {
  const clock = new ManualClock();
  const loads: (number | undefined)[] = [];
  const state = { response, requests: 0 };
  const reader = new EngineLoad({
    clock,
    fetchMetrics: async () => {
      state.requests++;
      if (state.response instanceof Error) throw state.response;
      return state.response;
    },
    onLoad: (load) => loads.push(load?.running),
  });
  readers.push(reader);
  reader.start();
  await settle();
  const respond = async (next: string | undefined | Error, afterMs: number): Promise<void> => {
    state.response = next;
    clock.advance(afterMs);
    await settle();
  };
  return { clock, loads, state, reader, respond };
}

const settle = (): Promise<void> => new Promise(setImmediate);

it('is read at once, and then every 2 s', async () => {
  const { clock, loads, respond, state, reader } = await startReader(format(1));
  expect(loads).toEqual([1]);
  await respond(format(2), 1999);
  expect(loads).toEqual([1]);
  await respond(format(2), 1);
  expect(loads).toEqual([1, 2]);
  reader.stop();
  clock.advance(60_000);
  await settle();
  expect([state.requests, clock.pending()]).toEqual([2, []]);
});

it.each([
  ['has no metrics', undefined],
  ['has only unknown metrics', 'process_cpu_seconds_total 1\n'],
  ['responds with an empty text', ''],
])('is looked for every 60 s while the server %s', async (_what, response) => {
  const { clock, loads, respond } = await startReader(response);
  expect([loads, clock.pending()]).toEqual([[], [60_000]]);
  await respond(format(3), 60_000);
  expect([loads, clock.pending()]).toEqual([[3], [2000]]);
});

it('is looked for every 10 s while the server does not respond', async () => {
  const { clock, loads, respond } = await startReader(new Error('refused'));
  expect([loads, clock.pending()]).toEqual([[], [10_000]]);
  await respond(format(3), 10_000);
  expect(loads).toEqual([3]);
});

it('stays known for 10 s without a response', async () => {
  const { clock, loads, respond } = await startReader(format(1));
  for (let seconds = 2; seconds <= 8; seconds += 2) await respond(new Error('timed out'), 2000);
  expect(loads).toEqual([1]);
  await respond(new Error('timed out'), 2000);
  expect([loads, clock.pending()]).toEqual([[1, undefined], [10_000]]);
  await respond(new Error('timed out'), 10_000);
  expect(loads).toEqual([1, undefined]);
});

it('is unknown as soon as the metrics no longer have it', async () => {
  const { clock, loads, respond } = await startReader(format(1));
  await respond(undefined, 2000);
  expect([loads, clock.pending()]).toEqual([[1, undefined], [60_000]]);
});

it('shows that the engine works by counters that grow', async () => {
  const formatWork = (tokens: number): string => `${format(1)}tgi_batch_inference_count ${tokens}\n`;
  const { clock, reader, respond } = await startReader(formatWork(5));
  expect(reader.hasWorkedSince(0)).toBe(false);
  await respond(formatWork(5), 2000);
  expect(reader.hasWorkedSince(0)).toBe(false);
  await respond(formatWork(6), 2000);
  expect([reader.hasWorkedSince(clock.nowMs()), reader.hasWorkedSince(clock.nowMs() + 1)]).toEqual([true, false]);
  // After a restart of the engine, the counters begin at 0.
  await respond(formatWork(1), 2000);
  expect(reader.hasWorkedSince(clock.nowMs())).toBe(false);
  await respond(format(1), 2000);
  await respond(formatWork(2), 2000);
  expect(reader.hasWorkedSince(clock.nowMs())).toBe(false);
});
