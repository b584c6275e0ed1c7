import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { clock, ids, random } from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import { stopAll } from '../support/binary.js';
import { assertHolds, measureTimeUntil, readRemovals, startCurlRegistrant, startServer } from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';
import { replica } from '../support/replicas.js';
import { until } from '../support/until.js';

afterAll(stopAll);

/** Keeps `count` replicas registered from this process. */
function keepRegistered(count: number, url: string, { onTestFinished }: TestContext): void {
  const api = createApiClient(url);
  const keepers = Array.from(
    { length: count },
    (_, n) =>
      new LeaseKeeper({
        api,
        replica: replica(`kept${n}`, { type: 'chat' }),
        instanceId: ids.createInstanceId(),
        clock,
        random,
      }),
  );
  for (const keeper of keepers) keeper.run().catch(() => {});
  onTestFinished(async () => {
    await Promise.all(keepers.map((keeper) => keeper.stop()));
    api.close();
  });
}

// Both tests wait for most of the time, so they run at the same time.
describe.concurrent('an API server that does not respond for 20 s', () => {
  it('has its 1,000 replicas back within 10 s when it is killed and restarted', async (context) => {
    const port = await findFreePort();
    const server = await startServer({ port });
    keepRegistered(1000, server.url, context);
    await until('all are registered', async () => (await server.listReplicaIds()).length === 1000, 30_000);
    await server.running.stop('SIGKILL');
    // Long enough for the backoff between registration attempts to grow.
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    const again = await startServer({ port });
    await measureTimeUntil('all 1,000 are back', 10_000, async () => (await again.listReplicaIds()).length === 1000);
  });

  it('removes no replica when it is stopped for 20 s and continues', async (context) => {
    const server = await startServer();
    keepRegistered(100, server.url, context);
    await startCurlRegistrant(server.url, 'curl');
    await until('all are registered', async () => (await server.listReplicaIds()).length === 101, 30_000);
    server.running.child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    server.running.child.kill('SIGCONT');
    await assertHolds('a route request finds a replica', 20_000, async () => (await server.fetchRoute()) !== undefined);
    expect(readRemovals(server)).toEqual([]);
    expect(await server.listReplicaIds()).toHaveLength(101);
  });
});
