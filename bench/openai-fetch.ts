/**
 * Measures calls of OpenAI's client with `createFetch`, compared with the same client that calls the engine directly: calls per second,
 * and processor time of the client. The engine (nginx) responds at once, so the client is the limit. Needs nginx.
 */
import { spawnSync } from 'node:child_process';
import OpenAI from 'openai';
import { createFetch } from '../src/openai.js';
import { computeMedian, computeMedianRatio, roundFigure } from './figures.js';
import { CLIENT_CORE, GATEWAY_CORE, registerEngine } from './gateway-contenders.js';
import { KEY, MODEL, startEngine } from './gateway-engine.js';
import { checkPrograms } from './programs.js';
import { type Row, report } from './report.js';

const CONCURRENCIES = [1, 16];
const WARM_UP_ROUNDS = 2;
const ROUNDS = 12;
const ROUND_MS = 1000;

/** The rate of calls, and the processor time of this process for each. */
interface CallCost {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** Makes calls for the time of a round, each as soon as an earlier one has ended. */
async function measureRound(openai: OpenAI, concurrency: number): Promise<CallCost> {
  const [startMs, cpu] = [performance.now(), process.cpuUsage()];
  let calls = 0;
  const callUntilEnd = async (): Promise<void> => {
    while (performance.now() - startMs < ROUND_MS) {
      const { choices } = await openai.chat.completions.create({
        model: MODEL,
        messages: [{ role: 'user', content: 'Say hello in one sentence, please.' }],
      });
      if (!choices[0]?.message.content) throw new Error('a response has no content');
      calls++;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, callUntilEnd));
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (calls * 1000) / (performance.now() - startMs), cpuUs: (user + system) / calls };
}

/** Measures both clients in turn. */
async function measure(direct: OpenAI, balanced: OpenAI, concurrency: number): Promise<Row[]> {
  const costs = { direct: [] as CallCost[], balanced: [] as CallCost[] };
  for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round++) {
    const inTurn = [
      async () => costs.direct.push(await measureRound(direct, concurrency)),
      async () => costs.balanced.push(await measureRound(balanced, concurrency)),
    ];
    for (const run of round % 2 === 0 ? inTurn : inTurn.reverse()) await run();
  }
  const list = (of: readonly CallCost[], key: keyof CallCost): number[] =>
    of.slice(WARM_UP_ROUNDS).map((cost) => cost[key]);
  const createRow = (what: string, of: readonly CallCost[]): Row => ({
    what: `${what}, ${concurrency} at a time`,
    perSecond: Math.round(computeMedian(list(of, 'perSecond'))),
    rateOfDirect: roundFigure(computeMedianRatio(list(of, 'perSecond'), list(costs.direct, 'perSecond'))),
    cpuUs: Math.round(computeMedian(list(of, 'cpuUs'))),
    cpuOfDirect: roundFigure(computeMedianRatio(list(of, 'cpuUs'), list(costs.direct, 'cpuUs'))),
  });
  return [createRow('directly', costs.direct), createRow('with `createFetch`', costs.balanced)];
}

checkPrograms('bench:openai', 'nginx', 'taskset');
spawnSync('taskset', ['-cp', String(GATEWAY_CORE), String(process.pid)]);
const engine = await startEngine(CLIENT_CORE);
const registered = await registerEngine(engine);
const balancedFetch = createFetch({ server: registered.server });
const direct = new OpenAI({ baseURL: `${engine}/v1`, apiKey: KEY });
const balanced = new OpenAI({ baseURL: 'http://anyserve/v1', apiKey: KEY, fetch: balancedFetch });
const rows: Row[] = [];
for (const concurrency of CONCURRENCIES) rows.push(...(await measure(direct, balanced, concurrency)));
report({ name: 'openai-fetch', rows, compared: { rateOfDirect: 'more', cpuOfDirect: 'less' } });
await balancedFetch.close();
process.exit();
