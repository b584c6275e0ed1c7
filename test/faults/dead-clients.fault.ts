import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { type Running, start, startProgram, stopAll } from '../support/binary.js';
import { getServerUrl, type ServerProcess, startServer } from '../support/fleet.js';
import { createNetwork, findNetworkProblem, type NetworkHost } from '../support/netns.js';
import { until } from '../support/until.js';

/** Documented limit for the failover of a call in progress. */
const MAX_FAILOVER_MS = 17_000;

/** Program with one client that makes a call for each line of its stdin. All go to the same replica while it can be called. */
const CALLER = `
import { createInterface } from 'node:readline';
const { Client } = await import(process.argv[1]);
const client = new Client({ server: 'http://127.0.0.1:8080', capability: { type: 'chat' }, pick: 'affinity' });
const options = { affinity: 'session' };
for await (const _line of createInterface({ input: process.stdin })) {
  const startedAt = performance.now();
  const outcome = await client.infer('chat', { prompt: ['hello'] }, options).then(() => client.replicaId, (error) => error.message);
  console.log(JSON.stringify({ outcome, ms: Math.round(performance.now() - startedAt) }));
}
await client.close();
`;

const LIBRARY = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const reason = findNetworkProblem();
if (reason) console.warn(`tests that need test networks are skipped: ${reason}`);

type TestWorker = { readonly process: Running; readonly host: NetworkHost };

/** An API server, two workers and a client with one long-lived connection, each on a separate host. */
interface Scene {
  readonly server: ServerProcess;
  /** Makes a call. `outcome` is the id of the replica that responded, or the error message. */
  call(withinMs: number): Promise<{ readonly outcome: string; readonly ms: number }>;
  /** Finds out which replica the client uses, and which is the other. */
  findUsedReplica(): Promise<{ readonly used: TestWorker; readonly usedId: string; readonly other: string }>;
}

async function createScene({ onTestFinished }: TestContext): Promise<Scene> {
  const network = createNetwork();
  onTestFinished(() => network.remove());
  const server = await startServer({ network });
  const workers: Record<string, TestWorker> = {};
  for (const id of ['one', 'two']) {
    const host = network.addHost();
    const place = ['--host', host.address, '--port', '50051', '--server', getServerUrl(host)];
    const process = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--id', id, ...place], host);
    await process.waitForOutput(/registered /);
    workers[id] = { process, host };
  }
  const caller = startProgram([process.execPath, '--input-type=module', '-e', CALLER, LIBRARY], network);
  async function call(withinMs: number): Promise<{ readonly outcome: string; readonly ms: number }> {
    const before = caller.stdout().length;
    caller.child.stdin?.write('call\n');
    const line = (): string => caller.stdout().slice(before);
    await until(
      () => `the call ends; ${caller.stderr()}`,
      () => line().includes('\n'),
      withinMs,
    );
    return JSON.parse(line());
  }
  async function findUsedReplica() {
    const { outcome } = await call(10_000);
    return { used: workers[outcome] as TestWorker, usedId: outcome, other: outcome === 'one' ? 'two' : 'one' };
  }
  return { server, call, findUsedReplica };
}

const DEATHS: [string, (worker: TestWorker) => unknown][] = [
  ['freezes', ({ process }) => process.child.kill('SIGSTOP')],
  ['is on a host whose packets are lost', ({ host }) => host.setPacketLoss(100)],
];

afterAll(stopAll);

// Each test has a network, and only waits: they run at the same time.
describe.skipIf(reason !== undefined).concurrent('a client whose replica dies silently', () => {
  it.for(DEATHS)('fails over a call in progress when the replica %s', async ([what, die], context) => {
    const { call, findUsedReplica } = await createScene(context);
    const { used: victim, other } = await findUsedReplica();
    die(victim);
    const { outcome, ms } = await call(MAX_FAILOVER_MS + 5000);
    console.info(`measured: a call at a replica that ${what} fails over to another after ${ms} ms`);
    expect(outcome).toBe(other);
    expect(ms).toBeLessThan(MAX_FAILOVER_MS);
    expect(await call(15_000)).toMatchObject({ outcome: other });
  });

  it.for(DEATHS)(
    'makes its next call at another replica when the replica %s and is removed from the list',
    async ([what, die], context) => {
      const { server, call, findUsedReplica } = await createScene(context);
      const { used: victim, usedId, other } = await findUsedReplica();
      die(victim);
      await until('it is no longer listed', async () => !(await server.listReplicaIds()).includes(usedId), 15_000);
      const { outcome, ms } = await call(10_000);
      console.info(`measured: the first call after a replica that ${what} has left the list takes ${ms} ms`);
      expect(outcome).toBe(other);
      expect(ms).toBeLessThan(3000);
    },
  );
});
