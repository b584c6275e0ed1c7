import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { Replica } from '../../src/core/replica.js';
import type { StoreLogin } from '../../src/core/store-login.js';
import type { ClientTls } from '../../src/core/tls.js';
import { EtcdStore, type EtcdStoreOptions } from '../../src/store/etcd/etcd-store.js';
import type { EtcdThread } from '../../src/store/etcd/etcd-thread.js';
import type { WatchResponse } from '../../src/store/etcd/gen/etcd.js';
import { clock, ids, random } from '../../src/system.js';
import { registrationStoreContract } from '../contract/registration-store.js';
import { stopAll } from '../support/binary.js';
import { type Authority, createAuthority } from '../support/certificates.js';
import { createTestEtcdThread, EtcdProcess, findEtcdProblem } from '../support/etcd-process.js';
import { createTestEtcdStore } from '../support/etcd-store.js';
import { findFreePort } from '../support/free-port.js';
import { registration, replica } from '../support/replicas.js';
import { TeamServer } from '../support/team-server.js';
import { until } from '../support/until.js';

let etcd: EtcdProcess;
let prefixes = 0;
const stores: EtcdStore<Replica>[] = [];
const closing: (() => Promise<void>)[] = [];

const problem = findEtcdProblem();
if (problem !== undefined) console.warn(`skipped: ${problem}`);

beforeAll(async () => {
  if (problem === undefined) etcd = await EtcdProcess.start();
});

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
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
  at = etcd,
): Promise<{ store: EtcdStore<Replica>; shown: Set<string> }> {
  const api = createTestEtcdThread([at.endpoint]);
  const store = createTestEtcdStore({ api, clock, prefix, ...options });
  stores.push(store);
  const shown = new Set<string>();
  store.subscribe((event) => {
    if (event.kind === 'delete') shown.delete(event.replicaId);
    else if ('registration' in event) shown.add(event.registration.replica.id);
  });
  await store.start();
  return { store, shown };
}

describe.skipIf(problem !== undefined)('a real etcd', () => {
  registrationStoreContract('the etcd store', () =>
    createTestEtcdStore({ api: createTestEtcdThread([etcd.endpoint]), clock, prefix: createPrefix() }),
  );

  it('tells a watch of compacted revisions that it does not have them', async () => {
    const revision = (await etcd.control('put', 'x', '1', '-w', 'json')).match(/"revision":(\d+)/)?.[1] ?? '';
    await etcd.control('compact', revision);
    const api = createTestEtcdThread([etcd.endpoint]);
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
    other.store.subscribe((event) => 'registration' in event && states.push(event.registration.state));
    await one.store.put(registration('l1', replica('r1', { model: 'a' })));
    await until('it is seen', () => other.shown.has('r1'));
    await one.store.change(registration('l1', replica('r1')).lease, { state: 'draining' });
    await until('the change is seen', () => states.at(-1) === 'draining');
    await one.store.delete(registration('l1', replica('r1')).lease, 'released');
    await until('the removal is seen', () => !other.shown.has('r1'));
    await until('the registry id is known', () => one.store.registryId !== undefined);
    expect(other.store.registryId).toBe(one.store.registryId);
    expect(await etcd.control('get', '--prefix', `${prefix}/replicas`)).toBe('');
  });

  it('write 1,000 registrations in a few batches', async () => {
    const prefix = createPrefix();
    const [one, other] = [await startStore(prefix), await startStore(prefix)];
    const before = Number((await etcd.control('get', 'nothing', '-w', 'json')).match(/"revision":(\d+)/)?.[1]);
    const all = Array.from({ length: 1000 }, (_, n) => registration(`l${n}`, replica(`r${n}`, { model: 'a' })));
    await Promise.all(all.map((each) => one.store.put(each)));
    await until('all are seen', () => other.shown.size === 1000);
    const after = Number((await etcd.control('get', 'nothing', '-w', 'json')).match(/"revision":(\d+)/)?.[1]);
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
      expect.stringMatching(/^1 registration is only in this API server: its record has \d+ bytes/),
    ]);
  });

  it('read records of newer versions, and keep unknown members when they cordon a replica', async () => {
    const prefix = createPrefix();
    const { store, shown } = await startStore(prefix);
    await etcd.control('put', `${prefix}/replicas/r3`, createNewerRecord('r3'));
    await until('it is seen', () => shown.has('r3'));
    const cordon = { cordoned: true, reason: 'why', atMs: 5 };
    await store.change(registration('digest', replica('r3')).lease, { cordon });
    const read = (): Promise<string> => etcd.control('get', '--print-value-only', `${prefix}/replicas/r3`);
    await until('the cordon is in etcd', async () => (await read()).includes('"cordoned":true'));
    expect(await read()).toContain('"extra":[1.0]');
  });

  it('refuse a registration of an id that another team has registered at a server a moment ago', async () => {
    const register = ['admin', 'team-a prefix=x- tenant=a'];
    const prefix = createPrefix();
    const create = async (api: EtcdThread): Promise<TeamServer> => {
      const createReplica = (one: Replica): SerializedReplica => new SerializedReplica(one);
      const options = { api, prefix, clock, random, ids, createReplica, events: { emit() {} } };
      const store = new EtcdStore<SerializedReplica>(options);
      closing.push(() => store.close());
      await store.start();
      const server = await TeamServer.start({ register, store });
      closing.push(() => server.close());
      return server;
    };
    const api = createTestEtcdThread([etcd.endpoint]);
    const openWatch = api.openWatch.bind(api);
    // The second server receives no changes, so only its transaction can find the record of the first one.
    api.openWatch = (request, listener) =>
      openWatch(request, { ...listener, onResponse: (response) => listener.onResponse({ ...response, events: [] }) });
    const [first, second] = [await create(createTestEtcdThread([etcd.endpoint])), await create(api)];
    const foreign = { id: 'x-1', endpoint: 'b.test:1', capabilities: [{ tenant: 'b' }] };
    const granted = await first.register(foreign, 'admin');
    expect(granted.status).toBe(200);
    const refused = await second.register({ id: 'x-1', capabilities: [{ tenant: 'a' }] }, 'team-a');
    expect([refused.status, refused.text.split('\r\n\r\n')[1]]).toEqual([
      403,
      '{"detail":"the id \\"x-1\\" is taken"}',
    ]);
    expect(await etcd.control('get', '--print-value-only', `${prefix}/replicas/x-1`)).toContain('b.test:1');
    expect((await second.send('GET', '/registry', 'team-a')).text).toBe('{"replicas":[]}');
    expect((await second.send('GET', '/registry', 'admin')).text).toContain('b.test:1');
    expect((await first.send('PUT', `/leases/${granted.lease}`, 'admin', { body: {} })).status).toBe(200);
    expect((await second.register({ id: 'x-2', capabilities: [{ tenant: 'a' }] }, 'team-a')).status).toBe(200);
    expect((await second.register({ id: 'x-1', capabilities: [{ tenant: 'a' }] }, 'admin')).status).toBe(200);
  });

  it('leave records in their server while etcd is full, and delete those of registrations that ended', async () => {
    const full = await EtcdProcess.start({ args: ['--quota-backend-bytes=1000000'] });
    const [one, other] = [await startStore('/full', {}, full), await startStore('/full', {}, full)];
    await one.store.put(registration('l1', replica('r1')));
    await until('it is shared', () => other.shown.has('r1'));
    const large = Array.from({ length: 2000 }, (_, n) => ({ model: `${n}`.padStart(100, 'x') }));
    // The first write that etcd refuses can also be a marker of the server.
    const listLocal = (): string[] =>
      one.store.listProblems().filter((text) => text.includes('only in this API server'));
    for (let n = 0; listLocal().length === 0; n++) {
      await one.store.put(registration(`big${n}`, replica(`big${n}`, ...large)));
    }
    expect(listLocal()).toEqual([
      expect.stringMatching(/^1 registration is only in this API server: .*space exceeded$/),
    ]);
    await one.store.delete(registration('l1', replica('r1')).lease, 'released');
    await until('the removal is seen', () => !other.shown.has('r1'));
    await full.kill();
  });
});

describe.skipIf(problem !== undefined)('an etcd with TLS and users', () => {
  const prefix = '/team/x';
  const login = { user: 'anyserve', password: 'the:secret' };
  let authority: Authority;
  let secure: EtcdProcess;
  let tls: ClientTls;

  beforeAll(async () => {
    if (problem !== undefined) return;
    authority = createAuthority();
    const certificate = authority.sign('client');
    const clients = { certificate, caFile: authority.certFile };
    secure = await EtcdProcess.start({ certificate: authority.sign('etcd'), clients });
    tls = { ca: authority.cert, cert: certificate.cert, key: certificate.key };
    for (const command of [
      ['user', 'add', 'root:root'],
      ['user', 'add', 'anyserve:the:secret'],
      ['role', 'add', 'anyserve'],
      ['role', 'grant-permission', 'anyserve', 'readwrite', '--prefix=true', `${prefix}/`],
      ['user', 'grant-role', 'root', 'root'],
      ['user', 'grant-role', 'anyserve', 'anyserve'],
      ['auth', 'enable'],
    ]) {
      await secure.control(...command);
    }
  });

  const asRoot = (...args: string[]): Promise<string> => secure.control('--user=root:root', ...args);

  /** Starts a store with this access, and returns its problem. */
  async function findProblem(access: Parameters<typeof createTestEtcdThread>[1], at: string): Promise<string> {
    const api = createTestEtcdThread([secure.endpoint], access);
    const store = createTestEtcdStore({ api, clock, prefix: at });
    stores.push(store);
    void store.start();
    const read = (): string => store.listProblems()[0] ?? 'it has not answered yet';
    await until('there is an answer', () => !read().includes('it has not answered yet'));
    return read();
  }

  it('accepts a client certificate, a user and a password; the next endpoint is used when one does not answer', async () => {
    const endpoints = [`127.0.0.1:${await findFreePort()}`, secure.endpoint];
    const api = createTestEtcdThread(endpoints, { tls: () => tls, login: () => login });
    const { store } = await startStore(prefix, { api });
    await store.put(registration('l1', replica('r1')));
    expect(await asRoot('get', '--prefix', prefix, '--keys-only')).toContain('/replicas/r1');
    expect(store.listProblems()).toEqual([]);
  });

  it.for<[string, (access: { tls: () => ClientTls; login: () => StoreLogin }) => object, string, string]>([
    [
      'a wrong password',
      (access) => ({ ...access, login: () => ({ ...login, password: 'wrong' }) }),
      prefix,
      'user "anyserve": etcdserver: authentication failed, invalid user ID or password; check the login',
    ],
    ['no client certificate', (access) => ({ ...access, tls: () => ({ ca: tls.ca }) }), prefix, 'no connection: '],
    ['an unknown authority', (access) => ({ ...access, tls: () => ({}) }), prefix, 'no connection: unable to verify'],
    ['no TLS', (access) => ({ ...access, tls: undefined }), prefix, 'no connection: '],
    [
      'another prefix',
      (access) => access,
      '/team/y',
      'etcdserver: permission denied; the user needs readwrite permission for the prefix',
    ],
  ])('refuses %s, with one line that says so', async ([, change, at, message]) => {
    const found = await findProblem(change({ tls: () => tls, login: () => login }), at);
    expect(found).toContain(`etcd can't be used: ${message}`);
    expect(found).not.toMatch(/\n|Resolution note/);
  });

  // Two of the intervals at which the store tries again.
  it('gets a new password: the store says that it is wrong, and works again with the new one', async () => {
    let password = login.password;
    const api = createTestEtcdThread([secure.endpoint], { tls: () => tls, login: () => ({ ...login, password }) });
    const { store } = await startStore(prefix, { api });
    await store.put(registration('l2', replica('r2')));
    await asRoot('user', 'delete', 'anyserve');
    await asRoot('user', 'add', 'anyserve:new');
    await asRoot('user', 'grant-role', 'anyserve', 'anyserve');
    await until('it says so', () => store.listProblems().some((text) => text.includes('authentication failed')));
    await store.put(registration('l3', replica('r3')));
    expect(store.listProblems().at(-1)).toMatch(/^1 registration is only in this API server: /);
    password = 'new';
    await until('it works again', () => store.listProblems().length === 0);
    expect(await asRoot('get', '--prefix', prefix, '--keys-only')).toContain('/replicas/r3');
    await asRoot('user', 'delete', 'anyserve');
    await asRoot('user', 'add', 'anyserve:the:secret');
    await asRoot('user', 'grant-role', 'anyserve', 'anyserve');
  });
});

function createNewerRecord(id: string): string {
  const members = `"endpoint":"h:1","capabilities":[{"model":"a"}],"lease":"digest","owner":"s","state":"ready"`;
  return `{"format":"1.7","replica_id":"${id}",${members},"extra":[1.0]}`;
}
