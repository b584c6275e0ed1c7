import type { Request } from 'express';
import { describe, expect, it } from 'vitest';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { CapabilityQuery } from '../../src/core/capability.js';
import type { Registry } from '../../src/core/registry.js';
import { toOriginForm } from '../../src/http/request-head.js';
import { createRouteHandler } from '../../src/server/route-handler.js';
import { SearchTurns } from '../../src/server/search-turns.js';
import { ManualClock } from '../support/manual-clock.js';
import { RecordedResponse } from '../support/recorded-response.js';
import { TEST_REGISTRY } from '../support/replicas.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

/** Creates a handler over a registry that records its queries. */
function createHandler() {
  const asked: CapabilityQuery[] = [];
  const route: Registry<SerializedReplica>['route'] = (query) => void asked.push(query.pairs);
  const clock = new ManualClock();
  const handle = createRouteHandler({
    registry: { route, search: () => ({ kind: 'none' }), id: TEST_REGISTRY, stalenessMs: undefined },
    clock,
    isWarming: () => false,
    turns: new SearchTurns(clock),
  });
  const ask = (url: string): void => {
    handle({ url, rawHeaders: [] } as unknown as Request, new RecordedResponse().response, () => {});
  };
  return { ask, asked };
}

describe('a query', () => {
  it('is the same object when it is repeated, even after thousands of others', () => {
    const { ask, asked } = createHandler();
    for (let round = 0; round < 5; round++) {
      ask('/route?model=qwen2&type=chat');
      for (let n = 0; n < 1000; n++) ask(`/route?n=${round * 1000 + n}`);
    }
    ask('/route?model=qwen2&type=chat');
    expect(new Set(asked.filter((query) => query[0] === 'model'))).toEqual(new Set([asked[0]]));
    expect(new Set(asked.filter((query) => query[0] === 'model')).size).toBe(1);
    expect(asked[0]).toEqual(['model', 'qwen2', 'type', 'chat']);
  });

  it('is parsed in the same way if it is long', () => {
    const { ask, asked } = createHandler();
    ask(`/route?${'&'.repeat(1000)}a=%ff+%22b%22&%F0%9F%98%80=\u00e9&a`);
    expect(asked).toEqual([['a', '', '😀', 'é']]);
  });

  const COUNT = 200;
  const LONG = 16_000;

  it.each<[string, (n: number) => string]>([
    ['with a host', (n) => toOriginForm(`http://${'a'.repeat(LONG)}/route?a-rather-long-key=${n}`)],
    ['with a single pair', (n) => `/route?${'&'.repeat(LONG)}a-rather-long-key=a-rather-long-value-${n}`],
  ])('does not keep the rest of a long target %s in memory', (_what, target) => {
    const bytes = measureRetainedBytes(() => {
      const { ask, asked } = createHandler();
      for (let n = 0; n < COUNT; n++) ask(target(n));
      expect(asked).toHaveLength(COUNT);
      return { ask, asked };
    });
    expect(bytes).toBeLessThan(COUNT * LONG * 0.1);
  });
});

describe('a search that takes a long time', () => {
  it('waits for its turn after others, while a fast query that was sent before does not', () => {
    const clock = new ManualClock();
    const asked: string[] = [];
    const route: Registry<SerializedReplica>['route'] = ({ pairs }) => {
      asked.push(pairs.join('='));
      if (pairs[0] === 'slow') clock.pause(5);
      return undefined;
    };
    const handle = createRouteHandler({
      registry: { route, search: () => ({ kind: 'none' }), id: TEST_REGISTRY, stalenessMs: undefined },
      clock,
      isWarming: () => false,
      turns: new SearchTurns(clock),
    });
    const sent: RecordedResponse[] = [];
    const ask = (url: string): void => {
      const recorded = new RecordedResponse();
      sent.push(recorded);
      handle({ url, rawHeaders: [] } as unknown as Request, recorded.response, () => {});
    };
    ask('/route?fast=1');
    for (let n = 0; n < 100; n++) ask(`/route?slow=${n}`);
    const before = asked.length;
    expect(before).toBeLessThan(60);
    ask('/route?fast=1');
    expect(asked.slice(before)).toEqual(['fast=1']);
    clock.advance(60_000);
    expect(asked).toHaveLength(102);
    expect(sent.map(({ status }) => status)).toEqual(Array(102).fill(404));
    for (let n = 0; n < 400; n++) ask(`/route?slow=a${n}`);
    expect(sent.filter(({ status }) => status === 503).length).toBeGreaterThan(50);
  });
});
