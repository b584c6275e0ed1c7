import { readdir, readFile, readlink } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await stopAll();
});

it('a worker full of silent connections is unready, and ready again when it has closed them', async () => {
  const api = start(['serve', '--port', '0']);
  const server = await api.waitForOutput(/listening on (\S+)/);
  const worker = start(['worker', '--backend', 'echo', '--cap', 'type=echo', '--port', '0', '--server', server], {
    through: ['sh', '-c', 'ulimit -n 256; exec "$@"', 'sh'],
  });
  const endpoint = await worker.waitForOutput(/^serving on (\S+)/m);
  await worker.waitForOutput(/^registered/m);
  const client = new InferenceClient({ endpoint }, { clock, random });
  expect(await client.serverReady()).toBe(true);

  const [host = '', port] = endpoint.split(':');
  for (let n = 0; n < 400; n++)
    sockets.push(
      connect(Number(port), host)
        .on('error', () => {})
        .resume(),
    );
  const readState = async (): Promise<unknown> => {
    const { replicas } = (await (await fetch(`${server}/replicas`)).json()) as { replicas: { state: string }[] };
    return replicas[0]?.state;
  };
  await until('it is unready', async () => (await readState()) === 'unready');
  expect(await client.serverReady()).toBe(false);
  // The existing connection keeps working.
  expect((await client.infer('echo', { x: Float32Array.of(1) })).outputs['x']?.data).toEqual(Float32Array.of(1));
  expect(worker.stderr()).toMatch(/not ready: \d+ of 256 file descriptors are in use; raise the limit/);

  await until('it is ready again', async () => (await readState()) === 'ready');
  const other = new InferenceClient({ endpoint }, { clock, random });
  expect(await other.serverReady()).toBe(true);
  await Promise.all([client.close(), other.close()]);
});

/** Counts the connections of a process to servers with these ports. */
async function countConnections(pid: number, ports: readonly number[]): Promise<number> {
  const folder = `/proc/${pid}/fd`;
  const links = (await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => ''));
  const inodes = new Set((await Promise.all(links)).flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
  const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((row) => row.trim().split(/\s+/));
  return rows.filter(([, , remote = '', , , , , , , inode = '']) => {
    return inodes.has(inode) && ports.includes(Number.parseInt(remote.split(':')[1] ?? '', 16));
  }).length;
}

it.skipIf(process.platform !== 'linux')('a worker with three API servers has three connections to them', async () => {
  const servers = Array.from({ length: 3 }, () => start(['serve', '--port', '0']));
  const urls = await Promise.all(servers.map((server) => server.waitForOutput(/listening on (\S+)/)));
  const options = urls.flatMap((url) => ['--server', url]);
  const worker = start(['worker', '--backend', 'echo', '--cap', 'type=echo', '--port', '0', ...options]);
  for (const url of urls) await worker.waitForOutput(new RegExp(`^(registered) .* ${url}$`, 'm'));
  const ports = urls.map((url) => Number(new URL(url).port));
  const isRenewedAgain = async (url: string): Promise<boolean> => {
    const { replicas } = (await (await fetch(`${url}/replicas`)).json()) as { replicas: Record<string, number>[] };
    const { since = 0, last_seen: seenAt = 0 } = replicas[0] ?? {};
    return seenAt - since > 5;
  };
  const counts = new Set<number>();
  await until('it has renewed its leases twice', async () => {
    counts.add(await countConnections(worker.child.pid ?? 0, ports));
    return (await Promise.all(urls.map(isRenewedAgain))).every(Boolean);
  });
  expect([...counts]).toEqual([3]);
});
