import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Running, start, startProgram, stopAll } from '../support/binary.js';
import { type ServerProcess, serverFrom, startServer } from '../support/fleet.js';
import { createNetwork, type Network, type NetworkHost, noNetworksBecause } from '../support/netns.js';
import { until } from '../support/until.js';

/** What is promised for a call under way. */
const MADE_ELSEWHERE_WITHIN_MS = 17_000;

/** A process with one client, which makes a call for each line of its standard input. */
const CALLER = `
import { createInterface } from 'node:readline';
const { Client } = await import(process.argv[1]);
const client = new Client({ server: 'http://127.0.0.1:8080', capability: { type: 'chat' } });
for await (const _line of createInterface({ input: process.stdin })) {
  const startedAt = performance.now();
  const outcome = await client.infer('chat', { prompt: ['hello'] }).then(() => client.replicaId, (error) => error.message);
  console.log(JSON.stringify({ outcome, ms: Math.round(performance.now() - startedAt) }));
}
await client.close();
`;

const LIBRARY = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const reason = noNetworksBecause();
if (reason) console.warn(`networks cannot be broken here, and what needs that is skipped: ${reason}`);

describe.skipIf(reason !== undefined)('a client whose replica dies without a word', () => {
  let network: Network;
  let server: ServerProcess;
  let caller: Running;
  let workers: Record<string, { readonly process: Running; readonly host: NetworkHost }>;

  beforeEach(async () => {
    network = createNetwork();
    server = await startServer({ network });
    workers = {};
    for (const id of ['one', 'two']) {
      const host = network.addHost();
      const place = ['--host', host.address, '--port', '50051', '--server', serverFrom(host)];
      const process = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--id', id, ...place], host);
      await process.printed(/registered /);
      workers[id] = { process, host };
    }
    caller = startProgram([process.execPath, '--input-type=module', '-e', CALLER, LIBRARY], network);
  });

  afterEach(async () => {
    await stopAll();
    network.remove();
  });

  /** Makes a call; resolves to the replica that answered, or what went wrong, and to how long that took. */
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

  /** The replica that the client uses, and the other. */
  async function used() {
    const { outcome } = await call(10_000);
    const other = outcome === 'one' ? 'two' : 'one';
    return { used: workers[outcome] as (typeof workers)[string], usedId: outcome, other };
  }

  const DEATHS: [string, (worker: { process: Running; host: NetworkHost }) => unknown][] = [
    ['freezes', ({ process }) => process.child.kill('SIGSTOP')],
    ['is on a host whose packets vanish', ({ host }) => host.lose(100)],
  ];

  it.each(DEATHS)('has the call under way made elsewhere when the replica %s', async (what, die) => {
    const { used: victim, other } = await used();
    die(victim);
    const { outcome, ms } = await call(MADE_ELSEWHERE_WITHIN_MS + 5000);
    console.info(`measured: a call at a replica that ${what} is answered by another after ${ms} ms`);
    expect(outcome).toBe(other);
    expect(ms).toBeLessThan(MADE_ELSEWHERE_WITHIN_MS);
    expect(await call(5000)).toMatchObject({ outcome: other });
  });

  it.each(DEATHS)('makes its next call elsewhere when the replica %s and has left the list', async (what, die) => {
    const { used: victim, usedId, other } = await used();
    die(victim);
    await until('it has left the list', async () => !(await server.listed()).includes(usedId), 15_000);
    const { outcome, ms } = await call(10_000);
    console.info(`measured: the first call after a replica that ${what} has left the list takes ${ms} ms`);
    expect(outcome).toBe(other);
    expect(ms).toBeLessThan(3000);
  });
});
