import { Agent, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { assertHolds, measureTimeUntil, startCurlRegistrant, startServer } from '../support/fleet.js';
import { until } from '../support/until.js';
import { type FrontedServer, SETUPS, startFronted, startLoadBalancer } from './fronted-server.js';

let fronted: readonly FrontedServer[];

beforeAll(async () => {
  fronted = await Promise.all(SETUPS.map(startFronted));
});

afterAll(stopAll);

/** Runs the same steps through all proxies concurrently. */
async function runThroughEach(steps: (server: FrontedServer) => Promise<void>): Promise<void> {
  await Promise.all(fronted.map(steps));
}

const isListed = async ({ api }: FrontedServer, id: string): Promise<boolean> =>
  (await api.listReplicaIds()).includes(id);

/** Sends `/route` requests over kept connections, and counts the statuses and failures. */
async function sendRoutes(url: string, agent: Agent, count: number): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = {};
  let left = count;
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const asked = request(`${url}/route?type=chat`, { agent }, (response) => {
        response.resume().on('end', () => resolve(String(response.statusCode)));
      });
      asked.on('error', (error) => resolve(String(error)));
      asked.end();
    });
  const sendAll = async (): Promise<void> => {
    while (left-- > 0) {
      const outcome = await ask();
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: 20 }, sendAll));
  return outcomes;
}

describe('a proxy in front of an API server', () => {
  it('forwards events at once, and the end of a killed registrant', () =>
    runThroughEach(async (server) => {
      const { name, url, noticesWithinMs } = server;
      const beganAtMs = performance.now();
      const registrant = await startCurlRegistrant(url, 'r1');
      // A proxy that collects events would hold them back for minutes.
      expect(performance.now() - beganAtMs).toBeLessThan(20_000);
      await assertHolds(`${name}: it is listed`, 3000, () => isListed(server, 'r1'));
      registrant.child.kill('SIGKILL');
      await measureTimeUntil(
        `${name}: it is gone after a kill`,
        noticesWithinMs,
        async () => !(await isListed(server, 'r1')),
      );
    }));

  it('forwards two-way leases: a stopped worker is removed and comes back', () =>
    runThroughEach(async ({ name, url, api, noticesWithinMs }) => {
      const worker = start(['worker', '--backend', 'echo', '--id', 'w1', '--port', '0', '--server', url]);
      await worker.waitForOutput(/^registered w1/m);
      const status = async (): Promise<number> => (await fetch(`${url}/route?type=echo`)).status;
      await assertHolds(`${name}: it outlives its TTL of 9 s`, 11_000, async () => (await status()) === 200);
      const called = await run(['infer', 'echo', '--prompt', 'Hi', '--server', url]);
      expect([name, called]).toEqual([name, { code: 0, stdout: 'Hi\n', stderr: '' }]);
      worker.child.kill('SIGSTOP');
      await measureTimeUntil(`${name}: a stopped worker is gone`, 11_000, async () => (await status()) === 404);
      worker.child.kill('SIGCONT');
      const isBack = (): boolean => /^registered w1[\s\S]*^registered w1/m.test(worker.stdout());
      await measureTimeUntil(`${name}: it is back`, 10_000, isBack);
      expect([name, await status()]).toEqual([name, 200]);
      expect([name, (await worker.stop()).code]).toEqual([name, 0]);
      await measureTimeUntil(`${name}: it has left`, noticesWithinMs, async () => (await status()) === 404);
      expect(api.running.stderr()).toContain('removed "w1": released');
    }));

  it('lets replicas re-register with an API server that was killed and restarted', () =>
    runThroughEach(async ({ name, url, api }) => {
      const args = ['--id', 'r2', '--endpoint', 'localhost:1', '--cap', 'type=chat', '--server', url];
      const registrant = start(['register', ...args]);
      await registrant.waitForOutput(/^registered r2/m);
      await api.running.stop('SIGKILL');
      const again = await startServer({ port: Number(new URL(api.url).port) });
      await measureTimeUntil(`${name}: it is back`, 15_000, async () => (await again.listReplicaIds()).includes('r2'));
      await registrant.stop();
      await until(`${name}: it has left`, async () => (await again.listReplicaIds()).length === 0);
    }));

  it('loses none of 4,000 requests while replicas register and leave, even after an idle pause', () =>
    runThroughEach(async ({ name, url }) => {
      await startCurlRegistrant(url, 'stays');
      const agent = new Agent({ keepAlive: true, maxSockets: 20 });
      let isOver = false;
      const registerAndLeave = async (): Promise<void> => {
        for (let n = 0; !isOver; n++) (await startCurlRegistrant(url, `r${n}`)).child.kill('SIGKILL');
      };
      const coming = registerAndLeave();
      expect([name, await sendRoutes(url, agent, 3000)]).toEqual([name, { 200: 3000 }]);
      // Longer than Node.js keeps idle connections by default.
      await new Promise((resolve) => setTimeout(resolve, 6500));
      expect([name, await sendRoutes(url, agent, 1000)]).toEqual([name, { 200: 1000 }]);
      isOver = true;
      await coming;
      agent.destroy();
    }));
});

describe('a load balancer in front of independent API servers', () => {
  it('is reported by a registrant, which keeps its lease', async () => {
    const servers = await Promise.all([startServer(), startServer()]);
    const url = await startLoadBalancer(servers);
    const args = ['--id', 'r1', '--endpoint', 'localhost:1', '--cap', 'type=chat', '--server', url];
    const registrant = start(['register', ...args]);
    await registrant.waitForOutput(/^registered r1/m);
    await until('it reports the problem', () => registrant.stdout().includes('misrouted r1'));
    expect(registrant.stdout()).toContain(`two independent API servers answer at ${url}; list them one by one`);
    const isListed = async (): Promise<boolean> =>
      (await Promise.all(servers.map((server) => server.listReplicaIds()))).flat().includes('r1');
    await assertHolds('it is registered with one of them', 11_000, isListed);
    expect(registrant.stdout().match(/^registered/gm)).toHaveLength(1);
    await registrant.stop();
  });
});
