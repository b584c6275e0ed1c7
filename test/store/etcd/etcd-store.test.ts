import * as system from '../../../src/system.js';
import { registrationStoreContract } from '../../contract/registration-store.js';
import { createTestEtcdStore } from '../../support/etcd-store.js';
import { connectSimulatedEtcd, SimulatedEtcd } from '../../support/simulated-etcd.js';

registrationStoreContract('the etcd store', () => {
  const etcd = new SimulatedEtcd(system.clock);
  return createTestEtcdStore({ api: connectSimulatedEtcd(etcd, system.clock), clock: system.clock });
});
