import { describe, expect, it } from 'vitest';
import { type ResolveHost, ServerList } from '../../src/client/server-list.js';
import { ManualClock } from '../support/manual-clock.js';

/** Creates a list whose host names resolve to these addresses. A test can change them. */
function createList(urls: string[], addresses: Record<string, string[]>) {
  const clock = new ManualClock();
  const resolved: string[] = [];
  const resolve: ResolveHost = async (hostName) => {
    resolved.push(hostName);
    const found = addresses[hostName];
    if (!found) throw new Error(`no address for ${hostName}`);
    return found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
  const list = new ServerList(urls, clock, resolve);
  const listNames = async (): Promise<string[]> => (await list.get()).map(({ name }) => name);
  return { clock, list, listNames, resolved };
}

describe('ServerList', () => {
  it('has the servers in the order given, each once, and resolves no addresses', async () => {
    const urls = ['http://127.0.0.1:1/', 'http://[::1]:2', 'http://localhost:3', 'http://127.0.0.1:1'];
    const { listNames, resolved } = createList(urls, {});
    expect(await listNames()).toEqual(['http://127.0.0.1:1', 'http://[::1]:2', 'http://localhost:3']);
    expect(resolved).toEqual([]);
  });

  it('has a server for each address of a name with several', async () => {
    const { list, listNames } = createList(['http://api:8080', 'http://127.0.0.1:1'], {
      api: ['10.0.0.2', '10.0.0.1'],
    });
    expect(await listNames()).toEqual([
      'http://api:8080 (10.0.0.1)',
      'http://api:8080 (10.0.0.2)',
      'http://127.0.0.1:1',
    ]);
    expect(await list.get()).toContainEqual({
      name: 'http://api:8080 (10.0.0.1)',
      url: 'http://api:8080',
      address: '10.0.0.1',
    });
  });

  it('has one server for a name with one address of each family', async () => {
    const { listNames } = createList(['http://api:8080'], { api: ['10.0.0.1', 'fd00::1'] });
    expect(await listNames()).toEqual(['http://api:8080']);
  });

  it('uses one family of a name with several addresses of both', async () => {
    const { listNames } = createList(['http://api:1'], { api: ['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2'] });
    expect(await listNames()).toEqual(['http://api:1 (10.0.0.1)', 'http://api:1 (10.0.0.2)']);
  });

  it('keeps a name that has no address, so that requests report the problem', async () => {
    const { listNames } = createList(['http://nowhere:1'], {});
    expect(await listNames()).toEqual(['http://nowhere:1']);
  });

  it('resolves names again after 30 s in the background, and keeps the objects of the servers that stay', async () => {
    const addresses: Record<string, string[]> = { api: ['10.0.0.1', '10.0.0.2'] };
    const { clock, list, listNames, resolved } = createList(['http://api:1'], addresses);
    const before = await list.get();
    addresses['api'] = ['10.0.0.2', '10.0.0.3'];
    clock.advance(29_999);
    expect(await listNames()).toEqual(['http://api:1 (10.0.0.1)', 'http://api:1 (10.0.0.2)']);
    clock.advance(1);
    expect(list.get()).toBe(before);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await listNames()).toEqual(['http://api:1 (10.0.0.2)', 'http://api:1 (10.0.0.3)']);
    expect((await list.get())[0]).toBe(before[1]);
    expect(resolved).toEqual(['api', 'api']);
  });

  it('can be followed: reports a new address within 30 s, until the signal is aborted', async () => {
    const addresses: Record<string, string[]> = { api: ['10.0.0.1', '10.0.0.2'] };
    const { clock, list } = createList(['http://api:1'], addresses);
    const reported: (string | undefined)[][] = [];
    const stop = new AbortController();
    const following = list.follow((servers) => reported.push(servers.map(({ address }) => address)), stop.signal);
    const settle = () => new Promise((resolve) => setImmediate(resolve));
    await settle();
    addresses['api'] = ['10.0.0.2', '10.0.0.3'];
    clock.advance(30_000);
    await settle();
    expect(reported).toEqual([
      ['10.0.0.1', '10.0.0.2'],
      ['10.0.0.2', '10.0.0.3'],
    ]);
    stop.abort();
    await following;
    clock.advance(30_000);
    await settle();
    expect(reported).toHaveLength(2);
  });

  it('is reported once to a follower if it has no host names', async () => {
    const { list } = createList(['http://127.0.0.1:1'], {});
    const reported: (readonly unknown[])[] = [];
    await list.follow((servers) => reported.push(servers), new AbortController().signal);
    expect(reported).toEqual([[{ name: 'http://127.0.0.1:1', url: 'http://127.0.0.1:1', address: undefined }]]);
  });

  it('keeps the known addresses of a name that can no longer be resolved', async () => {
    const addresses: Record<string, string[]> = { api: ['10.0.0.1', '10.0.0.2'] };
    const { clock, list, listNames } = createList(['http://api:1'], addresses);
    await list.get();
    delete addresses['api'];
    clock.advance(30_000);
    await list.get();
    await new Promise((resolve) => setImmediate(resolve));
    expect(await listNames()).toEqual(['http://api:1 (10.0.0.1)', 'http://api:1 (10.0.0.2)']);
  });

  it('waits at most 3 s for a resolver that does not respond', async () => {
    const clock = new ManualClock();
    const list = new ServerList(['http://api:1'], clock, () => new Promise(() => {}));
    const servers = list.get();
    clock.advance(3000);
    expect((await servers).map(({ name }) => name)).toEqual(['http://api:1']);
  });
});
