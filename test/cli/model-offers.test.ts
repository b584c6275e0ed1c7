import { expect, it } from 'vitest';
import { countOffers } from '../../src/cli/model-offers.js';
import type { MergedReplica } from '../../src/client/merged-list.js';
import { getPairValue } from '../../src/core/capability.js';
import { listReplica, replica } from '../support/replicas.js';

function row(...[of, more]: Parameters<typeof listReplica>): MergedReplica {
  return { listed: listReplica(of, more), servers: [], isConflict: false };
}

it('counts the replicas of each model and type, and those that get calls', () => {
  const qwen = { model: 'qwen2', type: 'chat' };
  const cordon = { cordoned: true, reason: '', atMs: 1 };
  const rows = [
    row(replica('r1', qwen, { model: 'bge', type: 'embed' }), { load: { running: 2, waiting: 1 } }),
    row(replica('r2', qwen), { load: { running: 3, waiting: 0 } }),
    row(replica('r3', qwen), { state: 'draining' }),
    row(replica('r4', qwen), { cordon }),
    row(replica('r5', { gpu: 'h100' }), { state: undefined }),
  ];
  expect(countOffers(rows)).toEqual([
    { model: 'bge', type: 'embed', ready: 1, replicas: 1, running: 2, waiting: 1 },
    { model: 'qwen2', type: 'chat', ready: 2, replicas: 4, running: 5, waiting: 1 },
    { model: undefined, type: undefined, ready: 1, replicas: 1, running: undefined, waiting: undefined },
  ]);
});

it('counts a replica with several capabilities of one model once, and only capabilities that are shown', () => {
  const rows = [row(replica('r1', { model: 'a', ctx: '1' }, { model: 'a', ctx: '2' }, { model: 'b', ctx: '2' }))];
  expect(countOffers(rows).map(({ model, replicas }) => [model, replicas])).toEqual([
    ['a', 1],
    ['b', 1],
  ]);
  const short = countOffers(rows, ({ pairs }) => getPairValue('ctx', pairs) === '1');
  expect(short.map(({ model }) => model)).toEqual(['a']);
});
