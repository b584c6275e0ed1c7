import { describe, expect, it } from 'vitest';
import { LineLimits } from '../../src/telemetry/line-limits.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

function start() {
  const [log, clock] = [createRecordingLog(), new ManualClock()];
  const limits = new LineLimits(log, clock);
  const write = (count: number, kind = 'a') => {
    for (let n = 0; n < count; n++) limits.getLog(kind).warn(`${kind}${n}`);
    return log.lines.splice(0);
  };
  const advance = (ms: number) => {
    clock.advance(ms);
    return log.lines.splice(0);
  };
  return { write, advance };
}

describe('lines of one kind', () => {
  it('are all logged up to a burst, then one per second with the number of those left out', () => {
    const { write, advance } = start();
    expect(write(1245)).toEqual(Array.from({ length: 10 }, (_, n) => `a${n}`));
    expect(advance(999)).toEqual([]);
    expect(advance(1)).toEqual(['a1244 … and 1,234 more like this']);
    expect(write(2)).toEqual([]);
    expect(advance(1000)).toEqual(['a1 … and 1 more like this']);
    expect(write(1)).toEqual([]);
    expect(advance(1000)).toEqual(['a0']);
    expect(advance(60_000)).toEqual([]);
  });

  it('have no limit when they are rare', () => {
    const { write, advance } = start();
    write(10);
    for (let n = 0; n < 50; n++) {
      advance(1000);
      expect(write(1)).toEqual(['a0']);
    }
    advance(10_000);
    expect(write(10)).toHaveLength(10);
  });

  it('do not count for another kind', () => {
    const { write } = start();
    write(100);
    expect(write(3, 'b')).toEqual(['b0', 'b1', 'b2']);
  });

  it('are counted although many other kinds follow', () => {
    const { write, advance } = start();
    write(12);
    for (let n = 0; n < 20_000; n++) expect(write(1, `kind${n}`)).toHaveLength(1);
    expect(advance(1000)).toEqual(['a11 … and 1 more like this']);
  });

  it('are truncated, because anyone can send long texts', () => {
    const log = createRecordingLog();
    new LineLimits(log, new ManualClock()).getLog('a').info('x'.repeat(100_000));
    expect(log.lines[0]).toBe(`${'x'.repeat(1024)}...`);
  });
});
