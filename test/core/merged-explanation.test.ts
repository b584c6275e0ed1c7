import { describe, expect, it } from 'vitest';
import type { CapabilityQuery } from '../../src/core/capability.js';
import { explainQuery } from '../../src/core/explainer.js';
import type { ExplainedReplica, Explanation } from '../../src/core/explanation.js';
import { summarizeExplanation } from '../../src/core/explanation-text.js';
import { mergeExplanations } from '../../src/core/merged-explanation.js';
import { createCapability, type ScalarPairs } from '../../src/json/capability-json.js';

function replica(id: string, capabilities: readonly ScalarPairs[], state = 'ready'): ExplainedReplica {
  return { id, capabilities: capabilities.map(createCapability), protocol: 'grpc', state, stateAgeMs: 5000 };
}

/** Explains a query at servers with these lists. */
function explainAt(query: CapabilityQuery, ...lists: ExplainedReplica[][]): Explanation {
  const [first, ...others] = lists.map((list) => explainQuery(query, list));
  return mergeExplanations([first as Explanation, ...others]);
}

const QUERY = ['type', 'chat', 'gpu', 'h100'];

describe('the explanations of several servers', () => {
  it('are as one of them if all have the same replicas', () => {
    const list = [replica('r1', [{ type: 'chat', gpu: 'a100' }]), replica('r2', [{ type: 'chta' }])];
    expect(explainAt(QUERY, list, list, list)).toEqual(explainQuery(QUERY, list));
    const matching = [replica('r1', [{ type: 'chat' }]), replica('r2', [{ type: 'chat' }], 'unready')];
    expect(explainAt(['type', 'chat'], matching, matching)).toEqual(explainQuery(['type', 'chat'], matching));
  });

  it.each<[string, ExplainedReplica[], ExplainedReplica[]]>([
    [
      'a match that is not ready',
      [replica('r1', [{ type: 'x' }])],
      [replica('r2', [{ type: 'chat', gpu: 'h100' }], 'unready')],
    ],
    ['pairs at different replicas', [replica('r1', [{ type: 'chat' }])], [replica('r2', [{ gpu: 'h100' }])]],
    ['pairs in different objects', [replica('r1', [])], [replica('r2', [{ type: 'chat' }, { gpu: 'h100' }])]],
    [
      'the closest of several spellings',
      [replica('r1', [{ type: 'cha', gpu: 'x100' }])],
      [replica('r2', [{ type: 'Chat' }])],
    ],
    ['a near miss', [replica('r1', [{ type: 'x' }])], [replica('r2', [{ type: 'chat', gpu: 'rtx4090' }])]],
  ])('have the reason of all replicas together: %s', (_what, first, second) => {
    const together = summarizeExplanation(explainQuery(QUERY, [...first, ...second]));
    expect(together).toBeDefined();
    expect(summarizeExplanation(explainAt(QUERY, first, second))).toEqual(together);
    expect(summarizeExplanation(explainAt(QUERY, second, first))?.rank).toBe(together?.rank);
  });

  it('count a replica once, as a candidate if one server would pick it', () => {
    const [ready, unready] = [replica('r1', [{ a: '1' }]), replica('r1', [{ a: '1' }], 'unready')];
    expect(explainAt(['a', '1'], [unready], [ready])).toMatchObject({
      candidates: { count: 1, first: [{ id: 'r1', state: 'ready' }] },
      others: { count: 0, first: [] },
    });
  });

  it('name a match with the other protocol, unless another server would pick it', () => {
    const [grpc, url] = [replica('r1', [{ a: '1' }]), { ...replica('r2', [{ a: '1' }]), protocol: 'http' as const }];
    expect(explainAt(['a', '1'], [grpc, url], [grpc]).otherProtocol).toMatchObject({
      protocol: 'http',
      count: 1,
      first: [{ id: 'r2' }],
    });
    expect(explainAt(['a', '1'], [grpc, url], [url]).otherProtocol).toBeUndefined();
  });

  it('count at least as many as the server with the most', () => {
    const many = Array.from({ length: 30 }, (_, n) => replica(`r${n}`, [{ a: '1' }]));
    expect(explainAt(['a', '1'], many.slice(0, 20), many)).toMatchObject({
      replicaCount: 30,
      candidates: { count: 30 },
    });
    expect(explainAt(['a', '1'], many.slice(0, 2), many.slice(2, 5)).candidates.count).toBe(5);
  });
});
