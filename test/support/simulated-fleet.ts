import { Fleet } from '../../src/client/balancing/fleet.js';
import { HedgeBudget } from '../../src/client/balancing/hedging.js';
import { createPicker } from '../../src/client/balancing/pickers/create-picker.js';
import { ReplicaTable } from '../../src/client/balancing/replica-table.js';
import { RetryBudgets } from '../../src/client/balancing/retry-budget.js';
import { TableDiscovery } from '../../src/client/balancing/table-discovery.js';
import { ActiveCalls } from '../../src/client/cancellation.js';
import { ChannelPool } from '../../src/client/channel-pool.js';
import type { InferStreamOptions, PickerName } from '../../src/client/client-options.js';
import { createFixedDiscovery, type Discovery } from '../../src/client/discovery.js';
import type { InferenceChannel } from '../../src/client/inference-channel.js';
import { QuietCallWatch } from '../../src/client/quiet-calls.js';
import { RetryingCaller } from '../../src/client/retrying-caller.js';
import { AnyserveError } from '../../src/core/errors.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { CallEvent } from '../../src/core/ports.js';
import { toServer } from './api-client.js';
import { listReplica, replica } from './replicas.js';
import { createSeededRandom } from './seeded-random.js';
import { SimulatedReplicas, type SimulatedResponse } from './simulated-replicas.js';

const SERVER = toServer('http://a');

/** Returns the endpoint of a simulated replica. */
export const toEndpoint = (id: string): string => `${id}.test:50051`;

/**
 * A fleet of simulated replicas, and a real client of it: its table, picker and retries, with a manual clock. Several clients can
 * share the `replicas` of one fleet.
 */
export class SimulatedFleet {
  readonly replicas: SimulatedReplicas;
  readonly clock;
  readonly random;
  readonly table: ReplicaTable;
  readonly discovery: TableDiscovery;
  readonly attempts: string[] = [];
  /** Called when an attempt at a replica begins. */
  onAttempt: (id: string) => void = () => {};
  readonly #caller: RetryingCaller<InferenceChannel>;
  readonly #channels: ChannelPool;

  constructor({
    seed = 1,
    pick = 'p2c' as PickerName,
    count = 0,
    timeoutMs = 60_000,
    hedgeAfterMs = 0,
    replicas = new SimulatedReplicas(),
  } = {}) {
    const { clock } = replicas;
    const table = new ReplicaTable(clock);
    this.replicas = replicas;
    this.clock = clock;
    this.table = table;
    const random = createSeededRandom(seed);
    this.random = random;
    this.discovery = new TableDiscovery({
      source: new Fleet({ table, startTable: () => {}, stopTable: () => table.close(), clock }),
      fallback: createUnreachableDiscovery(),
      picker: createPicker(pick, random),
      clock,
    });
    this.#channels = new ChannelPool({ maxMessageBytes: 1e6, clock });
    this.#caller = new RetryingCaller({
      discovery: this.discovery,
      channels: this.#channels,
      quietCalls: new QuietCallWatch({ clock, isListed: async () => true, hasOther: () => false }),
      query: ['type', 'x'],
      timeoutMs,
      waitWhileWarming: false,
      activeCalls: new ActiveCalls(),
      budgets: new RetryBudgets(),
      hedging: hedgeAfterMs > 0 ? { afterMs: hedgeAfterMs, budget: new HedgeBudget() } : undefined,
      onAttempt: (event) => this.#recordAttempt(event),
      clock,
      random,
    });
    table.connect(SERVER);
    table.apply(SERVER, { kind: 'snapshot', isWarming: false });
    for (let n = 1; n <= count; n++) this.put(`r${n}`);
    table.apply(SERVER, { kind: 'synced' });
  }

  /** Lists a replica, or changes its state. */
  put(id: string, { state = 'ready', isCordoned = false, weight = 1 } = {}): void {
    const cordon = isCordoned ? { cordoned: true, reason: '', atMs: 1 } : undefined;
    const listed = listReplica(replica(id, { type: 'x' }), { state, cordon, weight });
    this.table.apply(SERVER, { kind: 'put', replica: listed });
  }

  remove(id: string): void {
    this.table.apply(SERVER, { kind: 'removed', replicaId: asReplicaId(id), reason: 'closed' });
  }

  /** Number of calls that run or wait at the replicas. */
  get working(): number {
    return this.replicas.calls.reduce((total, calls) => total + calls, 0);
  }

  /** Limits how many calls a replica runs at once. Default: unlimited. */
  setSlots(id: string, slots: number): void {
    this.replicas.get(toEndpoint(id)).slots = slots;
  }

  /** Sets what a replica does with each call. Default: it responds after 10 ms. */
  setResponse(id: string, respond: () => SimulatedResponse): void {
    this.replicas.get(toEndpoint(id)).respond = respond;
  }

  /** Makes a call. Resolves to `ok`, or to the code of the error. */
  async call(options: InferStreamOptions = {}): Promise<string> {
    try {
      await this.#caller.call(options, 60_000, (channel, call) => this.replicas.get(channel.endpoint).handle(call));
      return 'ok';
    } catch (error) {
      if (error instanceof AnyserveError) return error.code;
      throw error;
    }
  }

  /** Makes calls at a rate, for a time. Resolves to their outcomes when all have ended. */
  async makeCalls(perSecond: number, forMs: number, options: InferStreamOptions = {}): Promise<string[]> {
    const calls: Promise<string>[] = [];
    const endAtMs = this.clock.nowMs() + forMs;
    const start = (): void => {
      calls.push(this.call(options));
      if (this.clock.nowMs() < endAtMs) this.clock.schedule(1000 / perSecond, start);
    };
    start();
    await this.run(forMs + 1);
    const outcomes = Promise.all(calls);
    let hasEnded = false;
    void outcomes.then(() => {
      hasEnded = true;
    });
    while (!hasEnded) await this.run(1000);
    return outcomes;
  }

  /** Lets time pass. */
  run(ms: number): Promise<void> {
    return this.replicas.run(ms);
  }

  close(): void {
    this.discovery.close();
    this.#channels.close();
  }

  #recordAttempt(event: CallEvent): void {
    if (event.kind !== 'attempt_started') return;
    const id = event.target.replicaId as string;
    this.attempts.push(id);
    this.onAttempt(id);
  }
}

/** Creates a discovery for a client whose API servers can't be reached. */
function createUnreachableDiscovery(): Discovery {
  const find = async (): Promise<never> => {
    throw new AnyserveError('server_unreachable', 'unreachable');
  };
  return { ...createFixedDiscovery('unused:1'), find };
}
