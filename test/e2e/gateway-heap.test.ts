import { execFileSync } from 'node:child_process';
import { Agent, request } from 'node:http';
import { afterAll, expect, it } from 'vitest';
import { registerEngine, startTestApiServer } from '../support/api-server.js';
import { BINARY, startProgram, stopAll } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';

const keep = closeAfterEach();

afterAll(stopAll);

/** Runs a script with these options of Node.js, and returns what it prints. */
function run(source: string, ...options: string[]): string {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const args = [...options, '--input-type=module', '--eval', source];
  return execFileSync(process.execPath, args, { env, encoding: 'utf8' });
}

/** Returns what a script records: sizes of V8's young generation in MB. V8 can have a page more, of a quarter of a MB. */
function measureSizes(script: string, ...options: string[]): number[] {
  const source = `
    import { getHeapSpaceStatistics } from 'node:v8';
    import { YoungGeneration } from './dist/cli/gateway-heap.js';
    const read = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size / 2 ** 20;
    const sizes = [];
    /** Creates so many objects that it grows to its limit. */
    function work() {
      for (let kept = [], index = 0; index < 2e6; index++) {
        if (kept.length > 2e4) kept = [];
        kept.push({ index, list: [index] });
      }
      sizes.push(read());
    }
    /** Ends calls, enough for several checks. */
    function endCalls() {
      for (let call = 0; call < 1000; call++) young.recordCall();
      sizes.push(read());
    }
    let young;
    function start() {
      young = new YoungGeneration(process.execArgv);
      sizes.push(read());
    }
    ${script}
    console.log(JSON.stringify(sizes));
  `;
  return JSON.parse(run(source, ...options)).map(Math.floor);
}

it('grows to two halves of 4 MB, and not further', () => {
  expect(measureSizes('start(); work(); endCalls(); work()')).toEqual([8, 8, 8, 8]);
});

it('does not grow further if it has its size already', () => {
  const grow = 'for (let kept = []; read() < 8; ) kept = Array.from({ length: 1e4 }, (_, index) => ({ index }));';
  expect(measureSizes(`${grow} start(); work()`)).toEqual([8, 8]);
});

it('grows again after V8 has reduced it, because there was no load', () => {
  // A collection of this kind does what V8 does after half a minute without load, or after minutes on a busy machine.
  const idle = `
    while (read() >= 8) {
      gc({ type: 'major', flavor: 'last-resort' });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    sizes.push(read());
    endCalls();
  `;
  expect(measureSizes(`start(); work(); ${idle}`, '--expose-gc')).toEqual([8, 8, 1, 8]);
});

it('leaves a size that the operator has chosen', () => {
  expect(measureSizes('start(); work(); endCalls()', '--max-semi-space-size=8').slice(1)).toEqual([16, 16]);
});

it('the old generation grows by 300 % between two full collections, unless the operator has chosen another growth', () => {
  /** Keeps 48 MB of objects that are too large for the young generation, and replaces each of them 52 times. */
  const churn = `
    import { setOldGrowth } from './dist/cli/gateway-heap.js';
    setOldGrowth(process.execArgv);
    const kept = [];
    for (let index = 0; index < 16_000; index++) kept[index % 300] = new Array(20_000);
  `;
  const countCollections = (...options: string[]): number =>
    run(churn, '--trace-gc', ...options).split('Mark-').length - 1;
  const [same, less, more] = [[], ['--heap-growing-percent=50'], ['--heap-growing-percent=900']].map((options) =>
    countCollections(...options),
  ) as [number, number, number];
  expect(less).toBeGreaterThan(1.3 * same);
  expect(same).toBeGreaterThan(1.3 * more);
});

/** A line of `--trace-gc`: the kind of the collection, and the size of the heap before and after it, in MB. */
const COLLECTION = /(Scavenge|Mark-Compact)[^\d\n]*([\d.]+) \([\d.]+\) -> ([\d.]+) \(/g;

/** Returns by how much the old generation grew between the collections of a trace, in MB, with what was collected there. */
function sumGrowth(trace: string): number {
  const collections = [...trace.matchAll(COLLECTION)].map(([, kind, before, after]) => ({
    freedMb: kind === 'Mark-Compact' ? Number(before) - Number(after) : 0,
    afterMb: Number(after),
  }));
  const [first, last] = [collections[0], collections.at(-1)];
  if (!first || !last || first === last) throw new Error(`the trace has too few collections: ${trace}`);
  return last.afterMb - first.afterMb + collections.slice(1).reduce((sum, { freedMb }) => sum + freedMb, 0);
}

/** Makes calls, 32 at a time. */
async function makeCalls(url: string, count: number): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  const body = JSON.stringify({ model: 'm', messages: [] });
  let begun = 0;
  const call = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent }, (response) => {
        response.resume().on('end', resolve).on('error', reject);
        if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
      });
      sent.on('error', reject).end(body);
    });
  const repeat = async (): Promise<void> => {
    while (begun++ < count) await call();
  };
  await Promise.all(Array.from({ length: 32 }, repeat));
  agent.destroy();
}

it('moves no objects of calls that have ended to the old generation', async () => {
  const server = keep(await startTestApiServer());
  const engine = keep(await startHttpEngine((_request, response) => sendJson(response, { choices: [] })));
  await registerEngine(server, 'engine', engine.url, [{ model: 'm' }]);
  const options = ['--port', '0', '--server', server.url];
  const gateway = startProgram([process.execPath, '--trace-gc', BINARY, 'gateway', ...options]);
  const url = await gateway.waitForOutput(/listening on (http:\S+)\/v1/);
  // Compiled code and what is created once.
  await makeCalls(url, 3000);
  const before = gateway.stdout().length;
  await makeCalls(url, 20_000);
  // Tables of a Set that changes with every call kept 40 MB of these calls.
  expect(sumGrowth(gateway.stdout().slice(before))).toBeLessThan(28);
});
