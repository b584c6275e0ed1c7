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

function pool(tls?: () => ClientTls): ChannelPool {
  const made = new ChannelPool({ maxMessageBytes: 1e6, clock, tls });
  cleanups.push(() => made.close());
  return made;
}

describe('a pool of channels', () => {
  it('has one for each endpoint, and another after one was dropped', () => {
    const channels = pool();
    const [a, b] = [channels.get('127.0.0.1:1'), channels.get('127.0.0.1:2')];
    expect([channels.get('127.0.0.1:1') === a, a === b]).toEqual([true, false]);
    channels.drop(a);
    const next = channels.get('127.0.0.1:1');
    expect(next).not.toBe(a);
    // Another call over the same channel fails later than the first.
    channels.drop(a);
    expect(channels.get('127.0.0.1:1')).toBe(next);
  });

  it('goes by what TLS says, not by the object that says it', () => {
    let ca = 'one';
    const channels = pool(() => ({ ca }));
    const first = channels.get('127.0.0.1:1');
    expect(channels.get('127.0.0.1:1')).toBe(first);
    ca = 'two';
    expect(channels.get('127.0.0.1:1')).not.toBe(first);
  });

  it('closes a channel when nobody uses it any more', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ a: [1] })));
    cleanups.push(() => worker.stop());
    const channel = pool().get(worker.replica.endpoint);
    const live = () => channel.call(INFERENCE_SERVICE.serverLive, {}, { deadlineEpochMs: clock.epochMs() + 5000 });
    channel.acquire();
    channel.closeWhenUnused();
    await expect(live()).resolves.toEqual({ live: true });
    channel.release();
    await expect(live()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('is closed') });
  });
});
