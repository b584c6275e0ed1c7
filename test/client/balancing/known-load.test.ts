import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { KnownLoad, readLoad } from '../../../src/client/balancing/known-load.js';

const LOAD = { running: 3, waiting: 1, limit: 4 };

describe('the load of a replica', () => {
  it('is that of the newest response, and counts for 10 s', () => {
    const known = new KnownLoad();
    expect([known.describe(0), known.estimate(0, 0), known.isWaiting]).toEqual([undefined, undefined, false]);
    known.recordResponse(LOAD, 0, 1000);
    expect(known.describe(3000)).toEqual({ load: LOAD, ageMs: 2000 });
    expect([known.estimate(0, 11_000), known.estimate(0, 11_001), known.isWaiting]).toEqual([LOAD, undefined, true]);
    known.recordResponse({ running: 9, waiting: 0 }, 0, 1000);
    expect([known.estimate(0, 11_000)?.running, known.isWaiting]).toEqual([9, false]);
  });

  it('of an API server counts until it is repeated, and is newer than a response 5 s ago', () => {
    const known = new KnownLoad();
    const estimateRunning = (nowMs: number) => known.estimate(0, nowMs)?.running;
    known.recordListed({ running: 7, waiting: 0 }, 0, 0);
    expect([estimateRunning(55_000), estimateRunning(55_001)]).toEqual([7, undefined]);
    known.recordResponse({ running: 8, waiting: 0 }, 0, 40_000);
    expect([estimateRunning(44_999), estimateRunning(45_000)]).toEqual([8, 7]);
    // The API servers are gone.
    known.recordResponse({ running: 9, waiting: 0 }, 0, 55_000);
    expect([estimateRunning(65_000), estimateRunning(65_001)]).toEqual([9, undefined]);
  });

  it.each([
    ['no change', LOAD, 2, 2, LOAD],
    ['fewer calls: first those that waited', LOAD, 3, 2, { running: 3, waiting: 0, limit: 4 }],
    ['no calls', LOAD, 3, 0, { running: 1, waiting: 0, limit: 4 }],
    ['more calls, which wait as others do', LOAD, 0, 2, { running: 3, waiting: 3, limit: 4 }],
    ['more calls than the limit', { running: 2, waiting: 0, limit: 4 }, 0, 5, { running: 4, waiting: 3, limit: 4 }],
    ['more calls without a limit', { running: 2, waiting: 0 }, 0, 5, { running: 7, waiting: 0 }],
    ['calls that have not arrived yet', { running: 1, waiting: 0 }, 5, 5, { running: 5, waiting: 0 }],
  ])('counts the calls of this client as they are now: %s', (_what, load, before, now, expected) => {
    const known = new KnownLoad();
    known.recordResponse(load, before, 0);
    expect(known.estimate(now, 0)).toEqual(expected);
  });

  it('is read from the trailing metadata of a response, unless that is invalid', () => {
    const read = (running: string, waiting: string, limit?: string) => {
      const trailers = new Metadata();
      trailers.set('anyserve-running', running);
      trailers.set('anyserve-waiting', waiting);
      if (limit !== undefined) trailers.set('anyserve-limit', limit);
      return readLoad(trailers);
    };
    expect(read('3', '1', '4')).toEqual(LOAD);
    expect(read('0', '0')).toEqual({ running: 0, waiting: 0, limit: undefined });
    expect(read('0', '0', 'many')).toEqual({ running: 0, waiting: 0, limit: undefined });
    expect(readLoad(new Metadata())).toBeUndefined();
    for (const wrong of ['', '-1', '1.5', '1e3', 'NaN', ' 1', '9999999999', '1'.repeat(20)]) {
      expect([wrong, read(wrong, '1'), read('1', wrong)]).toEqual([wrong, undefined, undefined]);
    }
  });
});
