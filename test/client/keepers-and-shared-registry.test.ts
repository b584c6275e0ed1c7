import { describe, expect, it } from 'vitest';
import { asRegistryId, asServerId } from '../../src/core/ids.js';
import { createTestEtcdStore } from '../support/etcd-store.js';
import { connectSimulatedEtcd, SimulatedEtcd, type SimulatedLink } from '../support/simulated-etcd.js';
import { KeeperSimulation } from '../support/simulated-keepers.js';
import type { SimulatedServer } from '../support/simulated-servers.js';

/** Number of simulations. `ANYSERVE_TEST_FUZZ_RUNS` raises it. */
const SEEDS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 30);

/** Maximum delay of a message between a server and etcd, in ms. */
const MAX_DELAY_MS = 50;

/** Time after which all servers list the same process: the lease of a killed server, its grace, and a keeper that stands by. */
const QUIESCENCE_MS = 60_000;

/** Three API servers that share a registry in one etcd, and processes that keep r1 registered. */
class SharedSimulation extends KeeperSimulation {
  /** The links of the server processes to etcd, by the names of the servers. */
  readonly links = new Map<string, SimulatedLink>();
  readonly etcd = new SimulatedEtcd(this.clock);

  constructor(seed: number) {
    super(seed, (server, name) => this.#createStore(server, name));
    this.startServers();
  }

  /** Breaks something at a server or in etcd, or repairs it. */
  disturb(): void {
    const server = this.pick(this.servers);
    const link = this.links.get(server.address.name) as SimulatedLink;
    const choice = this.random.fraction();
    if (choice < 0.3) this.#toggle(server);
    else if (choice < 0.5) link.isCut = !link.isCut && server.registry !== undefined;
    else if (choice < 0.6) link.losesResponses = !link.losesResponses;
    else if (choice < 0.8) this.etcd.revoke(this.pick(this.etcd.leases) ?? 0n);
    else if (choice < 0.9) this.etcd.breakWatches();
    else this.etcd.compact();
  }

  /** Repairs everything and lets it settle. */
  async repair(): Promise<void> {
    this.startServers();
    for (const link of this.links.values()) Object.assign(link, { isCut: false, losesResponses: false });
    await this.run(QUIESCENCE_MS);
  }

  /** Kills a server, unless it is the last one, or starts it. */
  #toggle(server: SimulatedServer): void {
    if (!server.registry) server.start();
    else if (this.servers.filter(({ registry }) => registry).length > 1) server.kill();
  }

  #createStore(server: string, name: string) {
    const { clock, random } = this;
    const api = connectSimulatedEtcd(this.etcd, clock);
    const { link } = api;
    link.delayMs = () => random.fraction() * MAX_DELAY_MS;
    this.links.set(server, link);
    const ids = {
      createServerId: () => asServerId(name),
      createRegistryId: () => asRegistryId(name.replace(' ', '-')),
    };
    const store = createTestEtcdStore({ api, clock, random, ids });
    void store.start();
    const cut = (): void => {
      link.isCut = true;
      void store.close();
    };
    return { store, cut };
  }
}

describe('keepers and servers that share a registry', () => {
  it('list a replica at every server, and its process never supersedes itself, after any failures', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new SharedSimulation(seed);
      const process = simulation.startProcess();
      for (let step = 0; step < 12; step++) {
        simulation.disturb();
        await simulation.run(simulation.random.fraction() * (step % 4 === 3 ? 20_000 : 2000));
      }
      await simulation.repair();
      expect([seed, simulation.listHolders()]).toEqual([seed, ['p1', 'p1', 'p1']]);
      expect([seed, process.changes.filter(({ kind }) => kind === 'superseded')]).toEqual([seed, []]);
    }
  });

  it('list a replica at every server when the id of the registry appears late, and hold one lease', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new SharedSimulation(seed);
      for (const link of simulation.links.values()) link.isCut = true;
      const process = simulation.startProcess();
      await simulation.run(simulation.random.fraction() * 20_000);
      for (const link of simulation.links.values()) {
        link.isCut = false;
        await simulation.run(simulation.random.fraction() * 5000);
      }
      await simulation.repair();
      expect([seed, simulation.listHolders()]).toEqual([seed, ['p1', 'p1', 'p1']]);
      expect([seed, simulation.countLeases()]).toEqual([seed, 1]);
      expect([seed, process.changes.filter(({ kind }) => kind === 'superseded')]).toEqual([seed, []]);
    }
  });

  it('end with the same process of an id at every server, and it stays the same', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new SharedSimulation(seed);
      for (let step = 0; step < 12; step++) {
        if (step % 5 === 0) simulation.startProcess();
        simulation.disturb();
        await simulation.run(simulation.random.fraction() * 3000);
      }
      await simulation.repair();
      const [holder] = simulation.listHolders();
      for (let s = 0; s < 30; s++) {
        expect([seed, s, holder, simulation.listHolders()]).toEqual([
          seed,
          s,
          expect.any(String),
          [holder, holder, holder],
        ]);
        await simulation.run(1000);
      }
    }
  });
});
