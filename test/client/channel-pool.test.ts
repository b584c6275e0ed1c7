import { afterEach, describe, expect, it } from 'vitest';
import { ChannelPool } from '../../src/client/channel-pool.js';
import type { ClientTls } from '../../src/core/tls.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function createPool(tls?: () => ClientTls): ChannelPool {
  const pool = new ChannelPool({ maxMessageBytes: 1e6, clock, tls });
  cleanups.push(() => pool.close());
  return pool;
}

describe('ChannelPool', () => {
  it('keeps one channel for each endpoint, and opens a new one after a drop', () => {
    const channels = createPool();
    const [a, b] = [channels.get('127.0.0.1:1'), channels.get('127.0.0.1:2')];
    expect([channels.get('127.0.0.1:1') === a, a === b]).toEqual([true, false]);
    channels.drop(a);
    const next = channels.get('127.0.0.1:1');
    expect(next).not.toBe(a);
    // A call that fails later on the same channel drops it again.
    channels.drop(a);
    expect(channels.get('127.0.0.1:1')).toBe(next);
  });

  it('compares TLS settings by value, not by identity', () => {
    let ca = 'one';
    const channels = createPool(() => ({ ca }));
    const first = channels.get('127.0.0.1:1');
    expect(channels.get('127.0.0.1:1')).toBe(first);
    ca = 'two';
    expect(channels.get('127.0.0.1:1')).not.toBe(first);
  });

  it('closes a retired channel when its last user releases it', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ a: [1] })));
    cleanups.push(() => worker.stop());
    const channel = createPool().get(worker.replica.endpoint);
    const callServerLive = () =>
      channel.call(INFERENCE_SERVICE.serverLive, {}, { deadlineEpochMs: clock.epochMs() + 5000 });
    channel.acquire();
    channel.closeWhenUnused();
    await expect(callServerLive()).resolves.toEqual({ live: true });
    channel.release();
    await expect(callServerLive()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('is closed'),
    });
  });
});
