import { describe, expect, it } from 'vitest';
import { type Brake, createBrake, type Verdict } from '../../src/core/brake.js';

const ten = new Set(Array.from({ length: 10 }, (_, at) => `h${at}`));

/** Accuses hosts one after the other; those that are removed are gone from the list. */
function judged(
  brake: Brake,
  hosts: readonly string[],
  { nowMs = 0, lateByMs = 0, all = new Set(ten) } = {},
): Verdict[] {
  return hosts.map((host) => {
    const verdict = brake.judge({ host, lateByMs, nowMs, hosts: all });
    if (verdict === 'remove') all.delete(host);
    return verdict;
  });
}

describe('the brake', () => {
  it('lets up to half of the hosts go, and suspects the rest', () => {
    expect(judged(createBrake(), [...ten])).toEqual([
      ...Array<Verdict>(5).fill('remove'),
      ...Array<Verdict>(5).fill('suspect'),
    ]);
  });

  it('counts hosts and not replicas: a machine with many goes at once', () => {
    const brake = createBrake();
    const all = new Set(['big', 'a', 'b', 'c']);
    const many = Array.from({ length: 100 }, () => brake.judge({ host: 'big', lateByMs: 0, nowMs: 0, hosts: all }));
    expect(new Set(many)).toEqual(new Set(['remove']));
  });

  it('does not hold for fewer than three hosts', () => {
    expect(judged(createBrake(), ['h0', 'h1'], { all: new Set(['h0', 'h1']) })).toEqual(['remove', 'remove']);
    expect(judged(createBrake(), ['a', 'b', 'c'], { all: new Set(['a', 'b', 'c']) })).toEqual([
      'remove',
      'remove',
      'suspect',
    ]);
  });

  it('forgets after ten seconds', () => {
    const brake = createBrake();
    const hosts = [...ten];
    const verdicts = hosts.flatMap((host, at) => judged(brake, [host], { nowMs: at * 4000 }));
    expect(new Set(verdicts)).toEqual(new Set(['remove']));
  });

  it('trusts nobody for ten seconds after this server stood still', () => {
    const brake = createBrake();
    expect(judged(brake, ['h0'], { lateByMs: 1000 })).toEqual(['remove']);
    expect(judged(brake, ['h1'], { lateByMs: 1001 })).toEqual(['suspect']);
    expect(judged(brake, ['h2'], { nowMs: 10_000 })).toEqual(['suspect']);
    expect(judged(brake, ['h3'], { nowMs: 10_001 })).toEqual(['remove']);
  });
});
