import { afterEach, beforeEach, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { EtcdStore } from '../../src/store/etcd/etcd-store.js';
import * as system from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { replica } from '../support/replicas.js';
import { connectSimulatedEtcd, SimulatedEtcd } from '../support/simulated-etcd.js';
import { until } from '../support/until.js';

const FULL = "etcd doesn't accept writes: etcdserver: mvcc: database space exceeded";

let etcd: SimulatedEtcd;
let store: EtcdStore<SerializedReplica>;
let server: TestApiServer;

beforeEach(async () => {
  const { clock, random, ids } = system;
  etcd = new SimulatedEtcd(clock);
  const createReplica = (one: ConstructorParameters<typeof SerializedReplica>[0]) => new SerializedReplica(one);
  const api = connectSimulatedEtcd(etcd, clock);
  store = new EtcdStore({ api, prefix: '/anyserve', clock, random, ids, events: { emit() {} }, createReplica });
  server = await startTestApiServer({ store, heartbeatMs: 60_000 });
  await store.start();
});

afterEach(async () => {
  await server.close();
  await store.close();
});

it('a registrant without renewals gets an event when its registration is only local, and when it is shared', async () => {
  etcd.isFull = true;
  const connection = openRawConnection(server.port, formatRegisterRequest(formatRegistrationBody('r1')));
  const readEvents = (): string[] => connection.received().match(/data: .*/g) ?? [];
  const local = `data: ${JSON.stringify({ status: 'local', reason: FULL }).replaceAll('":', '": ').replace(',"', ', "')}`;
  await until('it is local', () => readEvents().includes(local));
  expect(readEvents()).toEqual([
    'data: {"status": "registered", "replica_id": "r1"}',
    local,
    'data: {"status": "alive"}',
  ]);
  etcd.isFull = false;
  await until('it is shared', () => readEvents().includes('data: {"status": "shared"}'));
  connection.socket.destroy();
});

it('a keeper reports that its registration is only local, and that it is shared', async () => {
  etcd.isFull = true;
  const changes: LeaseChange[] = [];
  const api = createApiClient(server.url);
  const { clock, random, ids } = system;
  const instanceId = ids.createInstanceId();
  const onChange = (change: LeaseChange): void => void changes.push(change);
  const keeper = new LeaseKeeper({ api, replica: replica('r1'), instanceId, clock, random, onChange });
  void keeper.run();
  await until('it is local', () => changes.some(({ kind }) => kind === 'local'));
  etcd.isFull = false;
  await until('it is shared', () => changes.some(({ kind }) => kind === 'shared'));
  const at = { server: server.url };
  expect(changes).toEqual([
    { kind: 'registered', ...at },
    { kind: 'local', ...at, reason: FULL },
    { kind: 'shared', ...at },
  ]);
  await keeper.stop();
  api.close();
});
