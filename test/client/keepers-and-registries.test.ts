import { describe, expect, it } from 'vitest';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { asInstanceId, asReplicaId } from '../../src/core/ids.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';
import { createSimulatedClient, SimulatedServer } from '../support/simulated-servers.js';

const ID = asReplicaId('r1');
const SERVERS = ['a', 'b', 'c'];

/** Number of simulations. `ANYSERVE_TEST_FUZZ_RUNS` raises it. */
const SEEDS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 60);

/** A process that keeps r1 registered. */
interface Process {
  readonly name: string;
  readonly keeper: LeaseKeeper;
  readonly changes: LeaseChange[];
}

/** Real keepers and real registries, with a manual clock and a network that delays each message at random. */
class Simulation {
  readonly clock = new ManualClock();
  readonly random;
  readonly servers: readonly SimulatedServer[];
  readonly processes: Process[] = [];
  #started = 0;

  constructor(seed: number) {
    this.random = createSeededRandom(seed);
    this.servers = SERVERS.map((name) => new SimulatedServer(name, this.clock, this.random));
    for (const server of this.servers) server.start();
  }

  startProcess(): Process {
    const name = `p${++this.#started}`;
    const changes: LeaseChange[] = [];
    const keeper = new LeaseKeeper({
      api: createSimulatedClient(this.servers),
      replica: replica('r1', { process: name }),
      instanceId: asInstanceId(name),
      clock: this.clock,
      random: this.random,
      onChange: (change) => changes.push(change),
    });
    void keeper.run();
    const process = { name, keeper, changes };
    this.processes.push(process);
    return process;
  }

  /** Ends a process as SIGTERM does. */
  async stopProcess(process: Process): Promise<void> {
    this.processes.splice(this.processes.indexOf(process), 1);
    const stopped = process.keeper.stop();
    await this.run(2000);
    await stopped;
  }

  /** Advances time in small steps, and lets the promises of each step settle. */
  async run(ms: number): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= 50) {
      this.clock.advance(Math.min(50, leftMs));
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random.fraction() * items.length)] as T;
  }

  /** Returns the name of the process that each server lists; undefined for a server that lists none, or is down. */
  listHolders(): (string | undefined)[] {
    return this.servers.map(({ registry }) => registry?.find(ID)?.registration.instance?.id);
  }
}

describe('keepers and registries', () => {
  it('list a replica at every server that is up, after servers died and came back in any order', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new Simulation(seed);
      simulation.startProcess();
      await simulation.run(1500);
      for (let step = 0; step < 8; step++) {
        const server = simulation.pick(simulation.servers);
        if (server.registry && simulation.servers.filter(({ registry }) => registry).length > 1) server.kill();
        else if (!server.registry) server.start();
        await simulation.run(simulation.random.fraction() * 4000);
      }
      for (const server of simulation.servers) if (!server.registry) server.start();
      await simulation.run(10_000);
      expect([seed, simulation.listHolders()]).toEqual([seed, SERVERS.map(() => 'p1')]);
      const [process] = simulation.processes;
      expect([seed, process?.changes.filter(({ kind }) => kind === 'superseded')]).toEqual([seed, []]);
    }
  });

  it('end with the same process at every server when several have one id', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new Simulation(seed);
      const count = 2 + Math.floor(simulation.random.fraction() * 2);
      for (let n = 0; n < count; n++) {
        simulation.startProcess();
        await simulation.run(simulation.random.fraction() * 1000);
      }
      await simulation.run(30_000);
      const holders = new Set(simulation.listHolders());
      expect([seed, holders.size, holders.has(undefined)]).toEqual([seed, 1, false]);
      // From then on, the process that has the id stays the same.
      const before = [...holders];
      let changes = 0;
      for (let s = 0; s < 30; s++) {
        await simulation.run(1000);
        if (new Set(simulation.listHolders()).size !== 1 || simulation.listHolders()[0] !== before[0]) changes++;
      }
      expect([seed, changes]).toEqual([seed, 0]);
    }
  });

  it('end with the same process at every server after processes and servers came and went', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new Simulation(seed);
      simulation.startProcess();
      for (let step = 0; step < 10; step++) {
        const server = simulation.pick(simulation.servers);
        const choice = simulation.random.fraction();
        if (choice < 0.2) simulation.startProcess();
        else if (choice < 0.3 && simulation.processes.length > 1)
          await simulation.stopProcess(simulation.pick(simulation.processes));
        else if (server.registry) server.kill();
        else server.start();
        await simulation.run(simulation.random.fraction() * 3000);
      }
      for (const server of simulation.servers) if (!server.registry) server.start();
      await simulation.run(40_000);
      const holders = simulation.listHolders();
      expect([seed, new Set(holders).size, holders.includes(undefined)]).toEqual([seed, 1, false]);
    }
  });

  it('hand the id over to a process that stands by when the holder stops', async () => {
    for (let seed = 1; seed <= SEEDS / 2; seed++) {
      const simulation = new Simulation(seed);
      simulation.startProcess();
      await simulation.run(2000);
      simulation.startProcess();
      await simulation.run(30_000);
      const [name] = simulation.listHolders();
      const holder = simulation.processes.find((process) => process.name === name) as Process;
      await simulation.stopProcess(holder);
      await simulation.run(12_000);
      const [other] = simulation.processes;
      expect([seed, simulation.listHolders()]).toEqual([seed, SERVERS.map(() => other?.name)]);
    }
  });
});
