import { expect, it } from 'vitest';
import type { ListedReplica } from '../../src/api/replica-list-json.js';
import { dropSameRegistry, mergeLists } from '../../src/client/merged-list.js';
import { toServer } from '../support/api-client.js';
import { listReplica, replica } from '../support/replicas.js';

function createListed(id: string, instance?: ListedReplica['instance'], state = 'ready'): ListedReplica {
  return listReplica(replica(id, {}), { instance, state });
}

function merge(lists: Record<string, ListedReplica[]>) {
  const merged = mergeLists(Object.entries(lists).map(([url, replicas]) => ({ server: toServer(url), replicas })));
  return merged.map(({ listed, servers, isConflict }) => ({
    id: listed.replica.id,
    state: listed.state,
    servers: servers.map(({ name }) => name),
    isConflict,
  }));
}

it('keeps the order of the first list, and appends the replicas that only others have', () => {
  const merged = merge({ a: [createListed('r2'), createListed('r1')], b: [createListed('r3'), createListed('r2')] });
  expect(merged.map(({ id, servers }) => [id, servers])).toEqual([
    ['r2', ['a', 'b']],
    ['r1', ['a']],
    ['r3', ['b']],
  ]);
});

it('shows the newest registration of a process', () => {
  const merged = merge({
    a: [createListed('r1', { id: 'p', seq: 3 }, 'draining')],
    b: [createListed('r1', { id: 'p', seq: 2 }, 'ready')],
  });
  expect(merged).toEqual([{ id: 'r1', state: 'draining', servers: ['a', 'b'], isConflict: false }]);
});

it('shows the process that more servers list, and marks the conflict', () => {
  const merged = merge({
    a: [createListed('r1', { id: 'p', seq: 9 }, 'draining')],
    b: [createListed('r1', { id: 'q', seq: 1 })],
    c: [createListed('r1', { id: 'q', seq: 1 })],
  });
  expect(merged).toEqual([{ id: 'r1', state: 'ready', servers: ['b', 'c'], isConflict: true }]);
});

it('takes registrations without a process for the same one if they have the same endpoint', () => {
  expect(merge({ a: [createListed('r1')], b: [createListed('r1')] })).toMatchObject([{ isConflict: false }]);
});

it('takes the lists of servers with the same registry for one list', () => {
  const lists = [
    { server: toServer('a'), registryId: 'x', replicas: [createListed('r1')] },
    { server: toServer('b'), registryId: 'x', replicas: [createListed('r1')] },
    { server: toServer('c'), registryId: 'y', replicas: [] },
    { server: toServer('python 1'), replicas: [] },
    { server: toServer('python 2'), replicas: [] },
  ];
  expect(dropSameRegistry(lists).map(({ server }) => server.name)).toEqual(['a', 'c', 'python 1', 'python 2']);
});
