import { expect, it } from 'vitest';
import { asInstanceId, type ReplicaId } from '../../../src/core/ids.js';
import type { TxnRequest } from '../../../src/store/etcd/gen/etcd.js';
import { ManualClock } from '../../support/manual-clock.js';
import { registration, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance, SimulatedStore } from '../../support/simulated-stores.js';

/** Time after which the lease of a killed server has ended, and its records and their grace with it. */
const LEASE_END_MS = 30_000;

/** A killed server, its requests, and another server at which most of its replicas are registered since. */
class KilledServer {
  readonly clock = new ManualClock();
  readonly etcd = new SimulatedEtcd(this.clock);
  readonly requests: TxnRequest[] = [];
  readonly survivor: SimulatedStore;
  readonly #random;
  #seq = 0;

  constructor(seed: number) {
    this.#random = createSeededRandom(seed);
    this.survivor = this.#start(2);
  }

  /** Makes random registrations, changes and ends at a server, kills it, and registers some of its replicas at the other. */
  async run(): Promise<void> {
    const killed = this.#start(1);
    killed.link.onTxn = (request) => void this.requests.push(request);
    await advance(this.clock, 1000);
    for (let step = 0; step < 30; step++) {
      const server = this.pick([killed, killed, this.survivor]);
      const id = `r${this.pick([0, 1, 2, 3])}`;
      const lease = server.own.get(id as ReplicaId)?.lease;
      if (lease !== undefined && this.pick([true, false])) server.end(id as ReplicaId);
      else if (lease !== undefined) void server.store.change(lease, { state: this.pick(['ready', 'unready']) });
      else this.#register(server, id);
      await advance(this.clock, this.#random.fraction() * 300);
    }
    killed.link.isCut = true;
    for (const id of [...killed.own.keys()]) if (this.pick([true, true, false])) this.#register(this.survivor, id);
    await advance(this.clock, 500);
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#random.fraction() * items.length)] as T;
  }

  /** Sends a random prefix of the killed server's requests again. */
  async replay(): Promise<void> {
    for (const request of this.requests.slice(0, 1 + Math.floor(this.#random.fraction() * this.requests.length))) {
      try {
        this.etcd.txn(request);
      } catch {
        // Its lease has ended.
      }
    }
    await advance(this.clock, 500);
  }

  /** Returns the records in etcd. */
  listRecords(): [key: string, value: string][] {
    return Object.entries(this.etcd.dump()).filter(([key]) => key.includes('/replicas/'));
  }

  #start(seed: number): SimulatedStore {
    const server = new SimulatedStore(this.etcd, this.clock, seed);
    void server.store.start();
    return server;
  }

  #register(server: SimulatedStore, id: string): void {
    const seq = ++this.#seq;
    const instance = { id: asInstanceId(`process of ${id}`), seq, startedMs: 0 };
    server.put({ ...registration(`l${seq}`, replica(id, { model: `${seq}` })), instance });
  }
}

it('a killed server whose requests arrive again after the end of its lease changes nothing', async () => {
  for (let seed = 1; seed <= 100; seed++) {
    const server = new KilledServer(seed);
    await server.run();
    await advance(server.clock, LEASE_END_MS);
    const [records, shown] = [server.listRecords(), [...server.survivor.shown.values()]];
    await server.replay();
    expect([seed, server.listRecords()]).toEqual([seed, records]);
    expect([seed, [...server.survivor.shown.values()]]).toEqual([seed, shown]);
    expect([seed, server.survivor.lost]).toEqual([seed, []]);
  }
});

it('a killed server whose requests arrive again before the end of its lease changes no registration of another', async () => {
  for (let seed = 1; seed <= 100; seed++) {
    const server = new KilledServer(seed);
    await server.run();
    const { own, shown } = server.survivor;
    const ids = [...own.keys()];
    const held = ids.map((id) => shown.get(id));
    await server.replay();
    expect([seed, ids.map((id) => shown.get(id))]).toEqual([seed, held]);
    await advance(server.clock, LEASE_END_MS);
    expect([seed, ids.map((id) => shown.get(id))]).toEqual([seed, held]);
    expect([seed, shown.size, server.listRecords().length]).toEqual([seed, held.length, held.length]);
  }
});
