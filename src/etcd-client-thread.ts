/** Main file of the thread that `compose-store.ts` starts: it runs the client of etcd. */
import { parentPort, workerData } from 'node:worker_threads';
import { createChannelSecurity } from './client/channel-credentials.js';
import { asEndpoint } from './core/ids.js';
import { EtcdClient } from './store/etcd/etcd-client.js';
import type { EtcdThreadData, EtcdThreadRequest } from './store/etcd/etcd-thread-messages.js';
import { EtcdThreadServer } from './store/etcd/etcd-thread-server.js';
import { clock } from './system.js';

const { endpoints, credentials } = workerData as EtcdThreadData;
let { tls, login } = credentials;
const api = new EtcdClient({
  endpoints,
  createSecurity: (endpoint, current) => createChannelSecurity(asEndpoint(endpoint), current),
  tls: () => tls,
  login: () => login,
  clock,
});
const server = new EtcdThreadServer({
  api,
  send: (response) => parentPort?.postMessage(response),
  onTls(current) {
    tls = current;
  },
  onLogin(current) {
    login = current;
  },
});
parentPort?.on('message', (message: EtcdThreadRequest) => server.receive(message));
