import { describe, expect, it } from 'vitest';
import { matchesEventQuery, parseEventQuery, serializeEventFilters } from '../../src/api/event-query.js';

const ALL = { replicaIds: new Set(), kinds: new Set(), since: 0, limit: Number.POSITIVE_INFINITY, isFollowed: false };

describe('an event query', () => {
  it.each([
    ['', ALL],
    ['other=1', ALL],
    ['follow', { ...ALL, isFollowed: true }],
    ['follow=1', { ...ALL, isFollowed: true }],
    ['follow=false', ALL],
    ['since=17&limit=0', { ...ALL, since: 17, limit: 0 }],
    [
      'replica_id=a%26&replica_id=b&kind=removed&kind=registered',
      { ...ALL, replicaIds: new Set(['a&', 'b']), kinds: new Set(['removed', 'registered']) },
    ],
  ])('is parsed: %s', (search, query) => {
    expect(parseEventQuery(search)).toEqual(query);
  });

  it.each([
    ['kind=nonsense', /^kind "nonsense" does not exist; the kinds are registered, .*removed/],
    ['kind=store_failed', /does not exist/],
    ['kind=', /^kind "" does not exist/],
    ['kind=toString', /does not exist/],
    ['since=-1', /^since must be the number of an event$/],
    ['since=', /^since/],
    ['limit=1e3', /^limit must be a number of events$/],
    ['limit=1234567890123456', /^limit/],
  ])('is refused: %s', (search, problem) => {
    expect(parseEventQuery(search)).toMatch(problem);
  });

  it('has filters that are serialized and parsed', () => {
    const filters = { replicaIds: new Set(['a b', 'é&=']), kinds: new Set(['removed'] as const) };
    expect(parseEventQuery(serializeEventFilters(filters))).toEqual({ ...ALL, ...filters });
  });

  it.each([
    ['', true],
    ['since=4', true],
    ['since=5', false],
    ['kind=removed', true],
    ['kind=registered', false],
    ['kind=registered&kind=removed', true],
    ['replica_id=r1', true],
    ['replica_id=r2', false],
    ['replica_id=r2&replica_id=r1', true],
    ['replica_id=r1&kind=registered', false],
  ])('with %j matches an event or not: %j', (search, isMatch) => {
    const query = parseEventQuery(search);
    if (typeof query === 'string') throw new Error(query);
    expect(matchesEventQuery(query, { seq: 5, kind: 'removed', replicaId: 'r1' })).toBe(isMatch);
  });

  it('for a replica does not match events about no replica', () => {
    const query = parseEventQuery('replica_id=undefined');
    if (typeof query === 'string') throw new Error(query);
    expect(matchesEventQuery(query, { seq: 5, kind: 'self_preservation_left', replicaId: undefined })).toBe(false);
  });
});
