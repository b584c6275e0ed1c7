import type { SerializedReplica } from './api/serialized-replica.js';
import { AnyserveError } from './core/errors.js';
import { toGetter, type ValueOrGetter } from './core/options.js';
import type { Events, RegistrationStore, RegistryEvent } from './core/ports.js';
import type { Replica } from './core/replica.js';
import type { StoreLogin } from './core/store-login.js';
import type { ClientTls } from './core/tls.js';
import * as system from './system.js';

/** Where an API server keeps its registrations. */
export interface StoreOptions {
  /** A store, or an address: `memory`, or `etcd://HOST:PORT[,HOST:PORT][/PREFIX]`. Default: `memory`. */
  readonly store?: RegistrationStore<SerializedReplica> | string | undefined;
  readonly storeTls?: ValueOrGetter<ClientTls> | undefined;
  readonly storeLogin?: ValueOrGetter<StoreLogin> | undefined;
}

/** The store of an API server. */
export interface ComposedStore {
  readonly store: RegistrationStore<SerializedReplica>;
  /** Shown to people. */
  readonly kind: 'memory' | 'etcd' | 'custom';
  /** Closes the store if it was created here. */
  close(): Promise<void>;
}

/** Creates the store of an API server, unless it is given. Loads only the code of that store. Throws `usage` for an invalid address. */
export async function composeStore(
  { store: given = 'memory', storeTls, storeLogin }: StoreOptions,
  events: Events<RegistryEvent>,
): Promise<ComposedStore> {
  if (typeof given !== 'string') return { store: given, kind: 'custom', close: async () => {} };
  if (given !== 'memory') {
    const store = await createEtcdStore(given, { tls: toGetter(storeTls), login: toGetter(storeLogin) }, events);
    return { store, kind: 'etcd', close: () => store.close() };
  }
  if (storeTls || storeLogin) {
    throw new AnyserveError(
      'usage',
      'certificates or a login are given for the store, but it is in memory; give an address such as etcds://HOST:PORT',
    );
  }
  const { MemoryStore } = await import('./store/memory-store.js');
  const store = new MemoryStore<SerializedReplica>(system.ids.createRegistryId());
  return { store, kind: 'memory', close: () => store.close() };
}

/** How to log in to etcd. */
interface EtcdAccess {
  readonly tls: (() => ClientTls) | undefined;
  readonly login: (() => StoreLogin) | undefined;
}

async function createEtcdStore(
  address: string,
  { tls, login }: EtcdAccess,
  events: Events<RegistryEvent>,
): Promise<RegistrationStore<SerializedReplica>> {
  const [{ parseEtcdAddress }, { EtcdThread }, { EtcdStore }, { Worker }, { SerializedReplica }] = await Promise.all([
    import('./store/etcd/etcd-address.js'),
    import('./store/etcd/etcd-thread.js'),
    import('./store/etcd/etcd-store.js'),
    import('node:worker_threads'),
    import('./api/serialized-replica.js'),
  ]);
  const { endpoints, prefix, usesTls } = parseEtcdAddress(address);
  if (tls && !usesTls) {
    throw new AnyserveError('usage', `store ${address} uses no TLS, but certificates are given; use etcds://`);
  }
  const { clock, random, ids } = system;
  const noTls: ClientTls = {};
  const api = new EtcdThread({
    endpoints,
    tls: () => (usesTls ? (tls?.() ?? noTls) : undefined),
    login: () => login?.(),
    startWorker: (workerData) => new Worker(new URL('./etcd-client-thread.js', import.meta.url), { workerData }),
  });
  const createReplica = (replica: Replica): SerializedReplica => new SerializedReplica(replica);
  return new EtcdStore({ api, prefix, clock, random, ids, events, createReplica });
}
