import type { Replica } from '../../src/core/replica.js';
import { EtcdStore, type EtcdStoreOptions } from '../../src/store/etcd/etcd-store.js';
import * as system from '../../src/system.js';

/** Creates a store in etcd for a test. It is not started. */
export function createTestEtcdStore(
  options: Pick<EtcdStoreOptions<Replica>, 'api' | 'clock'> & Partial<EtcdStoreOptions<Replica>>,
): EtcdStore<Replica> {
  return new EtcdStore({
    prefix: '/anyserve',
    random: system.random,
    ids: system.ids,
    createReplica: (replica) => replica,
    events: { emit() {} },
    ...options,
  });
}
