import { describe, expect, it } from 'vitest';
import { KeeperSimulation, type SimulatedProcess } from '../support/simulated-keepers.js';

/** Number of simulations. `ANYSERVE_TEST_FUZZ_RUNS` raises it. */
const SEEDS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 60);

describe('keepers and registries', () => {
  it('list a replica at every server that is up, after servers died and came back in any order', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new KeeperSimulation(seed);
      simulation.startServers();
      simulation.startProcess();
      await simulation.run(1500);
      for (let step = 0; step < 8; step++) {
        const server = simulation.pick(simulation.servers);
        if (server.registry && simulation.servers.filter(({ registry }) => registry).length > 1) server.kill();
        else if (!server.registry) server.start();
        await simulation.run(simulation.random.fraction() * 4000);
      }
      simulation.startServers();
      await simulation.run(10_000);
      expect([seed, simulation.listHolders()]).toEqual([seed, simulation.servers.map(() => 'p1')]);
      const [process] = simulation.processes;
      expect([seed, process?.changes.filter(({ kind }) => kind === 'superseded')]).toEqual([seed, []]);
    }
  });

  it('end with the same process at every server when several have one id', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new KeeperSimulation(seed);
      simulation.startServers();
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
      const simulation = new KeeperSimulation(seed);
      simulation.startServers();
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
      simulation.startServers();
      await simulation.run(40_000);
      const holders = simulation.listHolders();
      expect([seed, new Set(holders).size, holders.includes(undefined)]).toEqual([seed, 1, false]);
    }
  });

  it('hand the id over to a process that stands by when the holder stops', async () => {
    for (let seed = 1; seed <= SEEDS / 2; seed++) {
      const simulation = new KeeperSimulation(seed);
      simulation.startServers();
      simulation.startProcess();
      await simulation.run(2000);
      simulation.startProcess();
      await simulation.run(30_000);
      const [name] = simulation.listHolders();
      const holder = simulation.processes.find((process) => process.name === name) as SimulatedProcess;
      await simulation.stopProcess(holder);
      await simulation.run(12_000);
      const [other] = simulation.processes;
      expect([seed, simulation.listHolders()]).toEqual([seed, simulation.servers.map(() => other?.name)]);
    }
  });
});
