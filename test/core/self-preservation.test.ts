import { describe, expect, it } from 'vitest';
import {
  type Accusation,
  createSelfPreservation,
  type SelfPreservation,
  type Verdict,
} from '../../src/core/self-preservation.js';
import { createSeededRandom } from '../support/seeded-random.js';

const ten = new Set(Array.from({ length: 10 }, (_, at) => `h${at}`));

/** Simple self-preservation that counts the departed hosts for each verdict. Used as the oracle. */
function createSimpleSelfPreservation(): {
  judge(accusation: Omit<Accusation, 'hosts'>, hosts: ReadonlySet<string>): Verdict;
} {
  const accused = new Map<string, number>();
  let pausedAtMs = Number.NEGATIVE_INFINITY;
  return {
    judge({ host, isLossy = false, timerDelayMs, nowMs }, hosts) {
      if (timerDelayMs > 1000) pausedAtMs = nowMs;
      accused.set(host, nowMs);
      const recent = [...accused].filter(([, atMs]) => nowMs - atMs <= 10_000).map(([name]) => name);
      const known = new Set([...recent, ...hosts]);
      const isMost = recent.length >= 3 && recent.length > known.size / 2;
      return isLossy || isMost || nowMs - pausedAtMs <= 10_000 ? 'suspect' : 'remove';
    },
  };
}

/** Accuses hosts one by one. Removed hosts lose their leases. */
function judgeAll(
  selfPreservation: SelfPreservation,
  hosts: readonly string[],
  { nowMs = 0, timerDelayMs = 0, all = new Set(ten) } = {},
): Verdict[] {
  return hosts.map((host) => {
    const verdict = selfPreservation.judge({ host, timerDelayMs, nowMs, hosts: all.size });
    if (verdict === 'remove') {
      all.delete(host);
      selfPreservation.onHostLeave(host);
    }
    return verdict;
  });
}

describe('self-preservation', () => {
  it('removes up to half of the hosts, and suspects the rest', () => {
    expect(judgeAll(createSelfPreservation(), [...ten])).toEqual([
      ...Array<Verdict>(5).fill('remove'),
      ...Array<Verdict>(5).fill('suspect'),
    ]);
  });

  it('counts hosts, not replicas: all replicas of a dead host are removed', () => {
    const selfPreservation = createSelfPreservation();
    const all = new Set(['big', 'a', 'b', 'c']);
    const many = Array.from({ length: 100 }, () =>
      selfPreservation.judge({ host: 'big', timerDelayMs: 0, nowMs: 0, hosts: all.size }),
    );
    expect(new Set(many)).toEqual(new Set(['remove']));
  });

  it('does not apply to fewer than three hosts', () => {
    expect(judgeAll(createSelfPreservation(), ['h0', 'h1'], { all: new Set(['h0', 'h1']) })).toEqual([
      'remove',
      'remove',
    ]);
    expect(judgeAll(createSelfPreservation(), ['a', 'b', 'c'], { all: new Set(['a', 'b', 'c']) })).toEqual([
      'remove',
      'remove',
      'suspect',
    ]);
  });

  it('forgets an accusation after ten seconds', () => {
    const selfPreservation = createSelfPreservation();
    const hosts = [...ten];
    const verdicts = hosts.flatMap((host, at) => judgeAll(selfPreservation, [host], { nowMs: at * 4000 }));
    expect(new Set(verdicts)).toEqual(new Set(['remove']));
  });

  it('suspects every silent replica for ten seconds after this server was paused', () => {
    const selfPreservation = createSelfPreservation();
    expect(judgeAll(selfPreservation, ['h0'], { timerDelayMs: 1000 })).toEqual(['remove']);
    expect(judgeAll(selfPreservation, ['h1'], { timerDelayMs: 1001 })).toEqual(['suspect']);
    expect(judgeAll(selfPreservation, ['h2'], { nowMs: 10_000 })).toEqual(['suspect']);
    expect(judgeAll(selfPreservation, ['h3'], { nowMs: 10_001 })).toEqual(['remove']);
  });

  it('gives the same verdicts as the oracle over random events', () => {
    const { fraction } = createSeededRandom(1);
    const drawBelow = (most: number): number => Math.floor(fraction() * most);
    const [selfPreservation, plain] = [createSelfPreservation(), createSimpleSelfPreservation()];
    const hosts = new Set<string>();
    const verdicts = new Map<Verdict, number>();
    let nowMs = 0;
    for (let step = 0; step < 20_000; step++) {
      nowMs += drawBelow(500);
      const host = `h${drawBelow(12)}`;
      if (!hosts.has(host)) {
        hosts.add(host);
        selfPreservation.onHostJoin(host);
      } else if (drawBelow(3) === 0) {
        hosts.delete(host);
        selfPreservation.onHostLeave(host);
      } else if (drawBelow(4) === 0) {
        const accusation = { host, nowMs, timerDelayMs: drawBelow(400) === 0 ? 1001 : 0, isLossy: drawBelow(50) === 0 };
        const verdict = selfPreservation.judge({ ...accusation, hosts: hosts.size });
        expect(verdict).toBe(plain.judge(accusation, hosts));
        verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
      }
    }
    expect(Math.min(verdicts.get('remove') ?? 0, verdicts.get('suspect') ?? 0)).toBeGreaterThan(300);
  });
});

describe('self-preservation of a server with one or two hosts', () => {
  const judge = (hosts: readonly string[], others: { hosts: number; silent: number }): Verdict[] => {
    const selfPreservation = createSelfPreservation();
    return hosts.map((host) =>
      selfPreservation.judge({ host, timerDelayMs: 0, nowMs: 0, hosts: hosts.length, others }),
    );
  };

  it('suspects a silent host if most hosts of all servers are silent', () => {
    expect(judge(['a'], { hosts: 4, silent: 2 })).toEqual(['suspect']);
    expect(judge(['a', 'b'], { hosts: 3, silent: 1 })).toEqual(['remove', 'suspect']);
  });

  it('removes it if most hosts of all servers are alive, or fewer than three are silent', () => {
    expect(judge(['a', 'b'], { hosts: 5, silent: 1 })).toEqual(['remove', 'remove']);
    expect(judge(['a'], { hosts: 1, silent: 1 })).toEqual(['remove']);
  });

  it('judges by its own hosts if it has three', () => {
    expect(judge(['a', 'b', 'c'], { hosts: 1000, silent: 0 })).toEqual(['remove', 'remove', 'suspect']);
    expect(judge(['a', 'b', 'c'], { hosts: 10, silent: 10 }).slice(0, 2)).toEqual(['remove', 'remove']);
  });

  it('counts silent hosts for 10 s, also if they have lost their leases', () => {
    const selfPreservation = createSelfPreservation();
    selfPreservation.judge({ host: 'a', timerDelayMs: 0, nowMs: 0, hosts: 2 });
    selfPreservation.onHostLeave('a');
    expect(selfPreservation.countHosts(1, 10_000)).toEqual({ hosts: 2, silent: 1 });
    expect(selfPreservation.countHosts(1, 10_001)).toEqual({ hosts: 1, silent: 0 });
  });
});
