import { AnyserveError } from '../src/core/errors.js';
import { takeExponential } from './figures.js';
import type { CallScenario } from './simulated-calls.js';

/** Usual time of a call, in ms. */
const CALL_MS = 50;

const SIZES = [10, 100, 1000];

/** Returns the interval between calls with which this number of calls is in progress at each replica. */
const keepBusy = (count: number, callsPerReplica: number) => (): number => CALL_MS / (callsPerReplica * count);

const isTenth = (replica: number): boolean => replica % 10 === 0;
const isEven = (replica: number): boolean => replica % 2 === 0;

/** Equal replicas, each with ten calls in progress. */
export const EQUAL_SCENARIOS: readonly CallScenario[] = SIZES.map((count) => ({
  title: `${count} equal replicas`,
  count,
  intervalMs: keepBusy(count, 10),
  respond: (_replica, random) => ({ afterMs: takeExponential(random, CALL_MS) }),
}));

const SLOW: readonly CallScenario[] = SIZES.map((count) => ({
  title: `${count} replicas, one in ten is ten times slower`,
  count,
  intervalMs: keepBusy(count, 0.5),
  respond: (replica) => ({ afterMs: isTenth(replica) ? 10 * CALL_MS : CALL_MS }),
}));

/** Ten replicas, one of which is ten times slower. */
export const SLOW_SCENARIO = SLOW[0] as CallScenario;

const FAILING: readonly CallScenario[] = SIZES.map((count) => ({
  title: `${count} replicas, one in ten fails at once`,
  count,
  intervalMs: keepBusy(count, 0.5),
  respond: (replica) =>
    isTenth(replica) ? { afterMs: 1, error: new AnyserveError('unavailable', 'full') } : { afterMs: CALL_MS },
}));

const UNEVEN_SPEED: CallScenario = {
  title: '10 replicas, half of them twice as fast',
  count: 10,
  intervalMs: keepBusy(10, 5),
  respond: (replica, random) => ({ afterMs: takeExponential(random, isEven(replica) ? CALL_MS / 2 : CALL_MS) }),
};

/** Replicas with 4 or 16 slots, of which 60 % are in use. */
export const UNEVEN_SIZE_SCENARIO: CallScenario = {
  title: '10 replicas, half of them with a quarter of the slots',
  count: 10,
  intervalMs: (_call, random) => takeExponential(random, CALL_MS / 60),
  respond: (_replica, random) => ({ afterMs: takeExponential(random, CALL_MS) }),
  slots: (replica) => (isEven(replica) ? 16 : 4),
};

const WEIGHTED: CallScenario = {
  ...UNEVEN_SIZE_SCENARIO,
  title: 'the same, with weights',
  weight: (replica) => (isEven(replica) ? 4 : 1),
};

const BURSTS: readonly CallScenario[] = [
  {
    title: '10 replicas with 16 slots, bursts of 150 calls',
    count: 10,
    intervalMs: (call) => ((call + 1) % 150 === 0 ? 1000 : 0),
    respond: () => ({ afterMs: CALL_MS }),
    slots: () => 16,
  },
  {
    title: 'bursts of 100 calls at 10 replicas, one is ten times slower',
    count: 10,
    intervalMs: (call) => ((call + 1) % 100 === 0 ? 1000 : 0),
    respond: SLOW_SCENARIO.respond,
  },
];

/** Scenarios in which a picker can make a difference to the slowest calls. */
export const SCENARIOS = [
  ...EQUAL_SCENARIOS,
  ...SLOW,
  ...FAILING,
  UNEVEN_SPEED,
  UNEVEN_SIZE_SCENARIO,
  WEIGHTED,
  ...BURSTS,
];

const RARELY_SLOW: CallScenario = {
  title: '3 % of the responses are ten times slower',
  count: 10,
  intervalMs: () => 10,
  respond: (_replica, random) => ({ afterMs: random.fraction() < 0.03 ? 10 * CALL_MS : CALL_MS }),
};

/** Rare slow responses, which no picker can avoid, without and with hedging. */
export const HEDGE_SCENARIOS: readonly CallScenario[] = [
  RARELY_SLOW,
  { ...RARELY_SLOW, title: 'the same, hedged after 75 ms', hedgeAfterMs: 75 },
];
