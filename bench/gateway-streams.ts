/** Measures the gateways with streams, and their memory after these and large bodies. */
import { ask, getBuiltCommand, type Started, start } from './child-process.js';
import { computeMedian, computeMedianRatio, roundFigure } from './figures.js';
import { CLIENT_CORE, type Contender, forEachContender, OURS, startContenders } from './gateway-contenders.js';
import { CALL_PATH, LARGE_BODY } from './gateway-engine.js';
import { readProcessorUs, readResidentBytes } from './process-usage.js';
import type { Row } from './report.js';
import type { StreamOrder, StreamResult } from './stream-client.js';
import { runWrk, writeWrkScript } from './wrk.js';

/** Few streams, for the time of a token, and many for its processor time. */
const FEW = { streams: 10, tokens: 200, pauseMs: 10 };
const MANY = { streams: 200, tokens: 60, pauseMs: 50 };

/** Number of streams that are open at the same time, for the memory of one. */
const OPEN = 2000;

/** Remark in the row of a gateway that did not finish a measurement of this file. */
const STREAMS_UNFINISHED = 'streams did not finish';

/** Part of a core with which the client would be the limit. */
const MAX_CLIENT_LOAD = 0.8;

interface Samples {
  readonly p50Us: number[];
  readonly p99Us: number[];
  readonly cpuUs: number[];
}

interface Figures {
  readonly samples: Samples;
  readonly memory: Record<string, number>;
}

type ReadStreams = (order: Omit<StreamOrder, 'url' | 'headers'>) => Promise<StreamResult>;

/** Measures all contenders in front of an engine that streams, in alternating rounds. Returns the figures of each. */
export async function measureStreams(rounds: number): Promise<ReadonlyMap<string, Omit<Row, 'what'>>> {
  const { line: engine } = await start(getBuiltCommand('stream-engine'), { core: CLIENT_CORE });
  const client = await start(getBuiltCommand('stream-client'), { core: CLIENT_CORE });
  const all = await startContenders(engine);
  const figures = new Map<string, Figures>();
  for (const contender of all)
    figures.set(contender.name, { samples: { p50Us: [], p99Us: [], cpuUs: [] }, memory: {} });
  const read =
    ({ url, headers }: Contender): ReadStreams =>
    (order) =>
      readStreams(client, { ...order, url, headers });
  await forEachContender(all, figures, (contender, own) => measureMemory(contender, read(contender), own));
  for (let round = 0; round < rounds; round++)
    await forEachContender(all, figures, (contender, own) => measureTokens(contender, read(contender), own));
  await forEachContender(all, figures, (contender, own) => measureOpenStreams(contender, client, own));
  for (const contender of all) await contender.stop();
  client.child.kill();
  return new Map(
    all.map(({ name }) => {
      const own = figures.get(name);
      return [name, own ? { ...toFigures(own.samples, figures), ...own.memory } : { unfinished: STREAMS_UNFINISHED }];
    }),
  );
}

async function readStreams(client: Started, order: StreamOrder): Promise<StreamResult> {
  const result = await ask<StreamResult>(client, 'readStreams', order);
  if (result.failure !== undefined) throw new Error(result.failure);
  if (result.ownLoad > MAX_CLIENT_LOAD) console.warn(`the client is the limit: it uses ${result.ownLoad} of a core`);
  return result;
}

async function measureTokens({ process: child }: Contender, read: ReadStreams, { samples }: Figures): Promise<void> {
  const few = await read(FEW);
  samples.p50Us.push(few.p50Us);
  samples.p99Us.push(few.p99Us);
  if (child?.pid === undefined) return;
  const beforeUs = readProcessorUs(child.pid);
  const { tokens } = await read(MANY);
  samples.cpuUs.push((readProcessorUs(child.pid) - beforeUs) / tokens);
}

/** Measures the memory after large bodies and 200 streams. */
async function measureMemory(contender: Contender, read: ReadStreams, { memory }: Figures): Promise<void> {
  const { url, headers, process: child } = contender;
  if (child?.pid === undefined) return;
  memory['idleBytes'] = readResidentBytes(child.pid);
  const script = writeWrkScript({ headers, body: LARGE_BODY });
  await runWrk(script, url + CALL_PATH, { core: CLIENT_CORE, connections: 32, seconds: 5 });
  await read(MANY);
  memory['streamsBytes'] = readResidentBytes(child.pid);
}

/** Measures the memory of a stream that stays open. */
async function measureOpenStreams(contender: Contender, client: Started, { memory }: Figures): Promise<void> {
  const { url, headers, process: child } = contender;
  if (child?.pid === undefined) return;
  const beforeBytes = readResidentBytes(child.pid);
  const order: StreamOrder = { url, headers, streams: OPEN, tokens: 1000, pauseMs: 1000 };
  const opened = await ask<number | string>(client, 'openStreams', order);
  if (opened !== OPEN) console.warn(`${contender.name}: ${opened}`);
  else memory['openStreamBytes'] = Math.round((readResidentBytes(child.pid) - beforeBytes) / OPEN);
  await ask(client, 'closeStreams');
}

function toFigures({ p50Us, p99Us, cpuUs }: Samples, all: ReadonlyMap<string, Figures>): Record<string, number> {
  const [direct, ours] = ['direct', OURS].map((name) => all.get(name)?.samples) as [Samples, Samples];
  if (cpuUs.length === 0) return {};
  const subtract = (values: readonly number[], others: readonly number[]): number[] =>
    values.map((value, round) => value - (others[round] as number));
  return {
    tokenAddedP50Us: roundFigure(computeMedian(subtract(p50Us, direct.p50Us))),
    tokenAddedP99Us: roundFigure(computeMedian(subtract(p99Us, direct.p99Us))),
    tokenCpuUs: roundFigure(computeMedian(cpuUs)),
    tokenCpuOfThis: roundFigure(computeMedianRatio(ours.cpuUs, cpuUs)),
  };
}
