import { connect } from 'node:net';
import { computeMedianRatio, computeQuantile, readMonotonicUs } from './figures.js';
import { readProcessorUs } from './process-usage.js';

const CONNECTIONS = 16;
const ROUND_MS = 500;

/** Requests of one round, and how long each took. */
export interface RouteRound {
  readonly perSecond: number;
  readonly timesUs: readonly number[];
}

/** Sends matching queries over all connections, each request as soon as the last response has arrived. */
export function runRouteRound(port: number, size: number): Promise<RouteRound> {
  return new Promise((resolve, reject) => {
    const timesUs: number[] = [];
    const endUs = readMonotonicUs() + ROUND_MS * 1000;
    let open = CONNECTIONS;
    for (let n = 0; n < CONNECTIONS; n++) {
      const socket = connect(port, '127.0.0.1').setNoDelay(true);
      let sentUs = 0;
      let next = n;
      const send = (): void => {
        sentUs = readMonotonicUs();
        const number = next++ % Math.min(200, size || 1);
        socket.write(`GET /route?model=model-${number}&type=type-${number % 5} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      };
      socket.once('connect', send).on('error', reject);
      socket.on('data', (chunk) => {
        // The head can arrive in a separate chunk.
        if (!chunk.includes('}')) return;
        if (!chunk.includes('"endpoint"')) return reject(new Error(`unexpected response: ${chunk}`));
        timesUs.push(readMonotonicUs() - sentUs);
        if (readMonotonicUs() < endUs) return send();
        socket.destroy();
        if (--open === 0) resolve({ perSecond: (timesUs.length / ROUND_MS) * 1000, timesUs });
      });
    }
  });
}

const WARM_UP_ROUNDS = 2;
const COST_ROUNDS = 4;

/** The rate of `GET /route`, and the processor time of the server for each request. */
export interface RouteCost {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** Measures a server, in the round that other processes disturbed least. */
export async function measureRouteCost(pid: number, port: number, size: number): Promise<RouteCost> {
  const costs: RouteCost[] = [];
  for (let round = 0; round < WARM_UP_ROUNDS + COST_ROUNDS; round++) {
    const beforeUs = readProcessorUs(pid);
    const { perSecond, timesUs } = await runRouteRound(port, size);
    costs.push({ perSecond, cpuUs: (readProcessorUs(pid) - beforeUs) / timesUs.length });
  }
  return pickQuantile(costs.slice(WARM_UP_ROUNDS), 0);
}

/** Costs of one kind of server, and their ratios to those of another kind. */
export interface ComparedRouteCost extends RouteCost {
  readonly rateOfBase: number;
  readonly cpuOfBase: number;
}

/**
 * Compares servers with those of another kind that were measured in the same turns. Two processes of the same kind differ by a few
 * percent, and the speed of the machine changes within minutes. So each ratio is the median of those of all turns.
 */
export function compareRouteCosts(costs: readonly RouteCost[], base: readonly RouteCost[]): ComparedRouteCost {
  const list = (of: readonly RouteCost[], key: keyof RouteCost): number[] => of.map((cost) => cost[key]);
  return {
    ...pickQuantile(costs, 0.5),
    rateOfBase: computeMedianRatio(list(costs, 'perSecond'), list(base, 'perSecond')),
    cpuOfBase: computeMedianRatio(list(costs, 'cpuUs'), list(base, 'cpuUs')),
  };
}

/** Returns the costs that this fraction of all is better than. */
function pickQuantile(costs: readonly RouteCost[], fraction: number): RouteCost {
  const list = (key: keyof RouteCost): number[] => costs.map((cost) => cost[key]);
  return {
    perSecond: computeQuantile(list('perSecond'), 1 - fraction),
    cpuUs: computeQuantile(list('cpuUs'), fraction),
  };
}
