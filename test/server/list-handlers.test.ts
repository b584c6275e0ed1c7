import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { LeaseId } from '../../src/core/ids.js';
import type { KnownReplica } from '../../src/core/registry.js';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { serializedReplica } from '../support/replicas.js';
import { collectGarbage } from '../support/retained-memory.js';
import { until } from '../support/until.js';

const COUNT = 10_000;

let server: TestApiServer;
let leases: LeaseId[];

beforeEach(async () => {
  server = await startTestApiServer();
  const register = (_: unknown, n: number): Promise<LeaseId> =>
    server.registry.register(serializedReplica(`é${n}`, { model: 'm'.repeat(200) }), { host: 'h' }, () => {});
  leases = await Promise.all(Array.from({ length: COUNT }, register));
});

afterEach(async () => {
  await server.close();
});

const listIds = (body: string): string[] =>
  (JSON.parse(body) as { replicas: { replica_id: string }[] }).replicas.map(({ replica_id }) => replica_id);

const ALL = Array.from({ length: COUNT }, (_, n) => `é${n}`);

describe('a long list', () => {
  it('is complete at every request, without replicas that are not routed to', async () => {
    for (const left of [ALL, ALL.slice(1)]) {
      const response = await fetch(`${server.url}/registry`);
      const body = await response.text();
      expect(listIds(body)).toEqual(left);
      expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(body)));
      await server.registry.renew(leases[0] as LeaseId, 'unready');
    }
    for (const lease of leases) await server.registry.renew(lease, 'draining');
    expect(await (await fetch(`${server.url}/registry`)).text()).toBe('{"replicas":[]}');
  });

  it('with details is complete, with replicas that are not routed to', async () => {
    await server.registry.renew(leases[0] as LeaseId, 'unready');
    const response = await fetch(`${server.url}/replicas`);
    const body = await response.text();
    expect(listIds(body)).toEqual(ALL);
    expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(body)));
    const { replicas } = JSON.parse(body) as { replicas: { state: string; peer: string }[] };
    expect(replicas.map(({ state }) => state)).toEqual(['unready', ...Array(COUNT - 1).fill('ready')]);
    expect(replicas.at(-1)).toMatchObject({ peer: 'h', ttl: null });
    for (const lease of leases) await server.registry.release(lease, 'released');
    expect(await (await fetch(`${server.url}/replicas`)).text()).toMatch(/^\{"now":[\d.]+,"replicas":\[\]\}$/);
  });

  it('is a snapshot, whatever changes while a client reads it', async () => {
    const { socket, received } = openRawConnection(server.port, 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.setEncoding('utf8');
    await until('it starts', () => received().length > 0);
    socket.pause();
    for (const lease of leases.slice(1)) await server.registry.release(lease, 'released');
    expect(listIds(await (await fetch(`${server.url}/registry`)).text())).toEqual(['é0']);
    socket.resume();
    // Each replica ends with `}]}`, and the list with this.
    await until('it is complete', () => received().endsWith(']}]}'));
    expect(listIds(received().split('\r\n\r\n')[1] as string)).toEqual(ALL);
    socket.destroy();
  });

  it('with details is a snapshot, whatever changes while it is serialized', async () => {
    const { received } = openRawConnection(
      server.port,
      'GET /replicas HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    const asked = vi.spyOn(server.registry, 'known');
    await until('it is requested', () => asked.mock.calls.length > 0);
    for (const lease of leases) await server.registry.release(lease, 'released');
    await until('it is complete', () => received().endsWith('}]}'));
    expect(listIds(Buffer.from(received().split('\r\n\r\n')[1] as string, 'latin1').toString())).toEqual(ALL);
  });

  it('needs less memory as more of it is read', async () => {
    const [one] = server.registry.known();
    const PARTS = 5000;
    vi.spyOn(server.registry, 'known').mockReturnValue(
      Array.from({ length: 32 * PARTS }, () => one as KnownReplica<SerializedReplica>),
    );
    const measureBuffers = (): number => {
      collectGarbage();
      return process.memoryUsage().arrayBuffers;
    };
    const before = measureBuffers();
    const { socket, received } = openRawConnection(server.port, 'GET /replicas HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it starts', () => received().length > 0);
    const length = Number(/content-length: (\d+)/.exec(received())?.[1]);
    socket.on('data', () => received().length > length / 2 && socket.pause());
    await until('half of it is read', () => socket.isPaused());
    await until('old entries are forgotten', () => measureBuffers() - before < length * 0.75);
    socket.destroy();
  });

  it('is no longer sent to a client that has disconnected', async () => {
    const { socket } = openRawConnection(server.port, 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
    socket.pause();
    await fetch(`${server.url}/livez`);
    socket.destroy();
    expect(listIds(await (await fetch(`${server.url}/registry`)).text())).toEqual(ALL);
    expect(server.log.lines.filter((line) => line.includes('failed'))).toEqual([]);
  });
});
