import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Replica } from '../../src/core/replica.js';
import type { EtcdStore, EtcdStoreOptions } from '../../src/store/etcd/etcd-store.js';
import type { WatchResponse } from '../../src/store/etcd/gen/etcd.js';
import { clock } from '../../src/system.js';
import { registrationStoreContract } from '../contract/registration-store.js';
import { stopAll } from '../support/binary.js';
import { createAuthority } from '../support/certificates.js';
import { createTestEtcdClient, EtcdProcess, findEtcdProblem } from '../support/etcd-process.js';
import { createTestEtcdStore } from '../support/etcd-store.js';
import { findFreePort } from '../support/free-port.js';
import { registration, replica } from '../support/replicas.js';
import { until } from '../support/until.js';

let etcd: EtcdProcess;
let prefixes = 0;
const stores: EtcdStore<Replica>[] = [];

const problem = findEtcdProblem();
if (problem !== undefined) console.warn(`skipped: ${problem}`);

beforeAll(async () => {
  if (problem === undefined) etcd = await EtcdProcess.start();
});

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
});

afterAll(stopAll);

function createPrefix(): string {
  return `/test/${++prefixes}`;
}

/** Starts a store, and returns it with the ids that it shows. */
async function startStore(
  prefix: string,
  options: Partial<EtcdStoreOptions<Replica>> = {},
): Promise<{ store: EtcdStore<Replica>; shown: Set<string> }> {
  const api = createTestEtcdClient([etcd.endpoint]);
  const store = createTestEtcdStore({ api, clock, prefix, ...options });
  stores.push(store);
  const shown = new Set<string>();
  store.subscribe((event) => {
    if (event.kind === 'delete') shown.delete(event.replicaId);
    else shown.add(event.registration.replica.id);
  });
  await store.start();
  return { store, shown };
}

describe.skipIf(problem !== undefined)('a real etcd', () => {
  registrationStoreContract('the etcd store', () =>
    createTestEtcdStore({ api: createTestEtcdClient([etcd.endpoint]), clock, prefix: createPrefix() }),
  );

  it('tells a watch of compacted revisions that it does not have them', async () => {
    const revision = etcd.control('put', 'x', '1', '-w', 'json').match(/"revision":(\d+)/)?.[1] ?? '';
    etcd.control('compact', revision);
    const api = createTestEtcdClient([etcd.endpoint]);
    const responses: WatchResponse[] = [];
    const request = { key: Buffer.from('x'), rangeEnd: new Uint8Array(), startRevision: 1n, fragment: true };
    const onResponse = (response: WatchResponse): void => void responses.push(response);
    const stream = api.openWatch(request, { onResponse, onEnd: () => {} });
    await until('it responds', () => responses.some(({ compactRevision }) => compactRevision === BigInt(revision)));
    stream.cancel();
    api.close();
  });
});

describe.skipIf(problem !== undefined)('stores in one etcd', () => {
  it("see each other's registrations, changes and removals, and have one registry id", async () => {
    const prefix = createPrefix();
    const [one, other] = [await startStore(prefix), await startStore(prefix)];
    const states: string[] = [];
    other.store.subscribe((event) => event.kind !== 'delete' && states.push(event.registration.state));
    await one.store.put(registration('l1', replica('r1', { model: 'a' })));
    await until('it is seen', () => other.shown.has('r1'));
    await one.store.change(registration('l1', replica('r1')).lease, { state: 'draining' });
    await until('the change is seen', () => states.at(-1) === 'draining');
    await one.store.delete(registration('l1', replica('r1')).lease, 'released');
    await until('the removal is seen', () => !other.shown.has('r1'));
    await until('the registry id is known', () => one.store.registryId !== undefined);
    expect(other.store.registryId).toBe(one.store.registryId);
    expect(etcd.control('get', '--prefix', `${prefix}/replicas`)).toBe('');
  });

  it('write 1,000 registrations in a few batches', async () => {
    const prefix = createPrefix();
    const [one, other] = [await startStore(prefix), await startStore(prefix)];
    const before = Number(etcd.control('get', 'nothing', '-w', 'json').match(/"revision":(\d+)/)?.[1]);
    const all = Array.from({ length: 1000 }, (_, n) => registration(`l${n}`, replica(`r${n}`, { model: 'a' })));
    await Promise.all(all.map((each) => one.store.put(each)));
    await until('all are seen', () => other.shown.size === 1000);
    const after = Number(etcd.control('get', 'nothing', '-w', 'json').match(/"revision":(\d+)/)?.[1]);
    expect(after - before).toBeLessThan(60);
  });

  it('write no record over 256 KiB, and those of other replicas all the same', async () => {
    const prefix = createPrefix();
    const [one, other] = [await startStore(prefix), await startStore(prefix)];
    const large = Array.from({ length: 3000 }, (_, n) => ({ model: `${n}`.padStart(100, 'x') }));
    await Promise.all([
      one.store.put(registration('l1', replica('large', ...large))),
      one.store.put(registration('l2', replica('small', { model: 'a' }))),
    ]);
    await until('the small one is seen', () => other.shown.has('small'));
    expect([...one.shown].sort()).toEqual(['large', 'small']);
    expect(other.shown.has('large')).toBe(false);
    expect(one.store.listProblems()).toEqual([
      expect.stringMatching(/^1 registrations are only in this API server, such as "large": its record has \d+ bytes/),
    ]);
  });

  it('read records of newer versions, and keep unknown members when they cordon a replica', async () => {
    const prefix = createPrefix();
    const { store, shown } = await startStore(prefix);
    etcd.control('put', `${prefix}/replicas/r3`, createNewerRecord('r3'));
    await until('it is seen', () => shown.has('r3'));
    const cordon = { cordoned: true, reason: 'why', atMs: 5 };
    await store.change(registration('digest', replica('r3')).lease, { cordon });
    const read = (): string => etcd.control('get', '--print-value-only', `${prefix}/replicas/r3`);
    await until('the cordon is in etcd', () => read().includes('"cordoned":true'));
    expect(read()).toContain('"extra":[1.0]');
  });

  it('use TLS, a user and a password, and the next endpoint when one does not answer', async () => {
    const authority = createAuthority();
    const secure = await EtcdProcess.start({ certificate: authority.sign('etcd') });
    const prefix = createPrefix();
    for (const command of [
      ['user', 'add', 'root:root'],
      ['user', 'add', 'anyserve:the:secret'],
      ['role', 'add', 'anyserve'],
      ['role', 'grant-permission', 'anyserve', 'readwrite', '--prefix=true', `${prefix}/`],
      ['user', 'grant-role', 'root', 'root'],
      ['user', 'grant-role', 'anyserve', 'anyserve'],
      ['auth', 'enable'],
    ]) {
      secure.control(...command);
    }
    const tls = { ca: authority.cert };
    const login = { user: 'anyserve', password: 'the:secret' };
    const endpoints = [`127.0.0.1:${await findFreePort()}`, secure.endpoint];
    const api = createTestEtcdClient(endpoints, { tls: () => tls, login: () => login });
    const { store } = await startStore(prefix, { api });
    await store.put(registration('l1', replica('r1')));
    expect(secure.control('--user=root:root', 'get', '--prefix', prefix, '--keys-only')).toContain('/replicas/r1');
    expect(store.listProblems()).toEqual([]);
    const wrong = createTestEtcdClient([secure.endpoint], {
      tls: () => tls,
      login: () => ({ ...login, password: 'wrong' }),
    });
    await expect(wrong.grantLease(5)).rejects.toMatchObject({ kind: 'denied' });
    wrong.close();
  });
});

function createNewerRecord(id: string): string {
  const members = `"endpoint":"h:1","capabilities":[{"model":"a"}],"lease":"digest","owner":"s","state":"ready"`;
  return `{"format":"1.7","replica_id":"${id}",${members},"extra":[1.0]}`;
}
