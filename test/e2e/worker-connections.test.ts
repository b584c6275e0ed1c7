import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

const sockets: Socket[] = [];
const forwarders: Server[] = [];

afterEach(async () => {
  for (const forwarder of forwarders.splice(0)) forwarder.close();
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

/** A server that registrants reach only at a forwarder, which counts their connections. */
interface ForwardedServer {
  /** URL of the forwarder. */
  readonly url: string;
  /** URL of the server itself. */
  readonly direct: string;
  countConnections(): number;
}

async function startForwardedServer(): Promise<ForwardedServer> {
  let direct = '';
  let connections = 0;
  const forwarder = createServer((socket) => {
    connections++;
    const forwarded = connect(Number(new URL(direct).port), '127.0.0.1');
    sockets.push(socket, forwarded);
    pipeline(socket, forwarded, socket, () => {});
  });
  forwarders.push(forwarder);
  await new Promise<void>((resolve) => void forwarder.listen(0, '127.0.0.1', resolve));
  const { port } = forwarder.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  direct = await start(['serve', '--port', '0', '--advertise', url]).waitForOutput(/listening on (\S+)/);
  return { url, direct, countConnections: () => connections };
}

it('a worker with three API servers renews its leases over one connection to each', async () => {
  const servers = await Promise.all(Array.from({ length: 3 }, startForwardedServer));
  const options = servers.flatMap(({ url }) => ['--server', url]);
  const worker = start(['worker', '--backend', 'echo', '--cap', 'type=echo', '--port', '0', ...options]);
  for (const { url } of servers) await worker.waitForOutput(new RegExp(`^registered .* ${url}$`, 'm'));
  const count = (): number => servers.reduce((sum, { countConnections }) => sum + countConnections(), 0);
  const readRenewedAtS = async (): Promise<number[]> => {
    const lists = await Promise.all(servers.map(async ({ direct }) => (await fetch(`${direct}/replicas`)).json()));
    return (lists as { replicas: { last_seen: number }[] }[]).map(({ replicas }) => replicas[0]?.last_seen ?? 0);
  };
  let [connections, sinceS] = [0, await readRenewedAtS()];
  // On a busy machine, a server can respond so late that the worker renews a lease over another connection. It need not do so twice.
  await until('it has renewed its leases twice without another connection', async () => {
    const renewedAtS = await readRenewedAtS();
    if (count() !== connections) [connections, sinceS] = [count(), renewedAtS];
    return renewedAtS.every((atS, server) => atS - (sinceS[server] ?? 0) > 5);
  });
});
