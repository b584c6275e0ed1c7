import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { KnownLoad, readLoad } from '../../../src/client/balancing/known-load.js';

const LOAD = { running: 3, waiting: 1, limit: 4 };

describe('the load of a replica', () => {
  it('is the newest one, and counts for 10 s', () => {
    const known = new KnownLoad();
    expect([known.describe(0), known.getRecent(0), known.isWaiting]).toEqual([undefined, undefined, false]);
    known.record(LOAD, 1000);
    known.record({ running: 9, waiting: 0 }, 999);
    expect(known.describe(3000)).toEqual({ load: LOAD, ageMs: 2000 });
    expect([known.getRecent(11_000), known.getRecent(11_001), known.isWaiting]).toEqual([LOAD, undefined, true]);
    known.record({ running: 9, waiting: 0 }, 1000);
    expect([known.getRecent(11_000)?.running, known.isWaiting]).toEqual([9, false]);
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
