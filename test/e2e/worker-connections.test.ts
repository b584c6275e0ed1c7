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

  await until('it is ready again', async () => (await readState()) === 'ready', 20_000);
  const other = new InferenceClient({ endpoint }, { clock, random });
  expect(await other.serverReady()).toBe(true);
  await Promise.all([client.close(), other.close()]);
});
