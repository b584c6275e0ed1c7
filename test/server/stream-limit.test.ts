import { describe, expect, it } from 'vitest';
import { StreamLimit } from '../../src/server/stream-limit.js';

const createLimit = (max: number, maxPerPeer?: number): StreamLimit =>
  new StreamLimit({ name: 'watches', max, whenFull: 'no more watches', maxPerPeer });

/** Adds streams of a peer until it is refused. Returns their number and the refusal. */
function fill(limit: StreamLimit, peer: string): [count: number, code?: string, message?: string] {
  for (let count = 0; ; count++) {
    const refusal = limit.check(peer);
    if (refusal) return [count, refusal.code, refusal.message];
    limit.add(peer);
  }
}

describe('a stream limit', () => {
  it('leaves half of all streams to other peers', () => {
    const limit = createLimit(10);
    expect(fill(limit, 'a')).toEqual([5, 'resource_exhausted', 'a has 5 watches, the maximum for one host']);
    expect(fill(limit, 'b')).toEqual([5, 'resource_exhausted', 'b has 5 watches, the maximum for one host']);
    expect(fill(limit, 'c')).toEqual([0, 'unavailable', 'no more watches']);
  });

  it('allows each peer at most the limit per peer', () => {
    const limit = createLimit(10, 3);
    const counts = ['a', 'b', 'c', 'd', 'e'].map((peer) => fill(limit, peer));
    expect(counts.map(([count, code]) => [count, code])).toEqual([
      [3, 'resource_exhausted'],
      [3, 'resource_exhausted'],
      [3, 'resource_exhausted'],
      [1, 'unavailable'],
      [0, 'unavailable'],
    ]);
  });

  it('counts a stream until it ends, once', () => {
    const limit = createLimit(4);
    const end = limit.add('a');
    limit.add('a');
    end();
    end();
    expect([limit.size, fill(limit, 'a')[0]]).toEqual([1, 1]);
    expect(limit.size).toBe(2);
  });
});
