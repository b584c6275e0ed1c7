import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceChannel } from '../../src/client/inference-channel.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Lets all lookups of this process resolve to these addresses, one after the other, and to the last one from then on. */
function resolveTo(...addresses: readonly string[]): { count: number } {
  const { lookup, promises } = dns;
  const asked = { count: 0 };
  const next = () => [{ address: addresses[Math.min(asked.count++, addresses.length - 1)] as string, family: 4 }];
  Object.assign(dns, {
    lookup: (_name: string, _options: object, callback: (error: null, found: object[]) => void) =>
      setImmediate(callback, null, next()),
  });
  const lookupLater = promises.lookup;
  Object.assign(promises, { lookup: async () => next() });
  syncBuiltinESMExports();
  cleanups.push(() => {
    Object.assign(dns, { lookup });
    Object.assign(promises, { lookup: lookupLater });
    syncBuiltinESMExports();
  });
  return asked;
}

async function startWorkerOnAddress() {
  const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({})));
  cleanups.push(() => worker.stop());
  return Number(worker.replica.endpoint.split(':')[1]);
}

/** Listens on another address of this machine, and counts connections. */
async function listenElsewhere(port: number): Promise<{ count: number }> {
  const seen = { count: 0 };
  const server: Server = createServer((socket) => {
    seen.count++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.2', resolve));
  cleanups.push(() => server.close());
  return seen;
}

function openChannel(endpoint: string, checkAddress?: (address: string) => boolean): InferenceChannel {
  const channel = new InferenceChannel(endpoint, { maxMessageBytes: 1e6, clock, checkAddress });
  cleanups.push(() => channel.close());
  return channel;
}

const isLive = (channel: InferenceChannel) =>
  channel.call(INFERENCE_SERVICE.serverLive, {}, { deadlineEpochMs: clock.epochMs() + 5000 });

describe('a channel to a name whose addresses change', () => {
  it('calls the address that was checked', async () => {
    const port = await startWorkerOnAddress();
    const elsewhere = await listenElsewhere(port);
    const asked = resolveTo('127.0.0.1', '127.0.0.2');
    const channel = openChannel(`rebound.test:${port}`, (address) => address === '127.0.0.1');
    expect(await isLive(channel)).toEqual({ live: true });
    expect([asked.count, elsewhere.count]).toEqual([1, 0]);
  });

  it('does not connect to addresses that are not allowed', async () => {
    const port = await startWorkerOnAddress();
    const elsewhere = await listenElsewhere(port);
    resolveTo('127.0.0.2');
    const channel = openChannel(`rebound.test:${port}`, (address) => address === '127.0.0.1');
    await expect(isLive(channel)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('rebound.test resolves to 127.0.0.2, and connections there are not allowed'),
    });
    expect(elsewhere.count).toBe(0);
  });

  it('follows the name to another address when the connection is lost', async () => {
    const port = await startWorkerOnAddress();
    const elsewhere = await listenElsewhere(port);
    resolveTo('127.0.0.2', '127.0.0.1');
    const channel = openChannel(`moved.test:${port}`);
    await expect(isLive(channel)).rejects.toMatchObject({ code: 'unavailable' });
    expect(elsewhere.count).toBeGreaterThan(0);
    expect(await isLive(channel)).toEqual({ live: true });
  });
});

it('refuses addresses and sockets of this machine that are not allowed', async () => {
  for (const endpoint of ['127.0.0.1:1', '[::1]:1', 'unix:/run/x.sock'])
    await expect(isLive(openChannel(endpoint, () => false))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('not allowed'),
    });
});

it('can not be called after it is closed', async () => {
  const channel = openChannel(`127.0.0.1:${await startWorkerOnAddress()}`);
  channel.close();
  await expect(isLive(channel)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('closed'),
  });
});
