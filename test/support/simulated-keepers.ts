import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { asInstanceId, asReplicaId } from '../../src/core/ids.js';
import { ManualClock } from './manual-clock.js';
import { replica } from './replicas.js';
import { createSeededRandom } from './seeded-random.js';
import { type CreateStore, createSimulatedClient, SimulatedServer } from './simulated-servers.js';

const ID = asReplicaId('r1');
const SERVERS = ['a', 'b', 'c'];

/** A process that keeps r1 registered. */
export interface SimulatedProcess {
  readonly name: string;
  readonly keeper: LeaseKeeper;
  readonly changes: LeaseChange[];
}

/** Real keepers and real registries, with a manual clock and a network that delays each message at random. */
export class KeeperSimulation {
  readonly clock = new ManualClock();
  readonly random;
  readonly servers: readonly SimulatedServer[];
  readonly processes: SimulatedProcess[] = [];
  #started = 0;

  constructor(seed: number, createStore?: CreateStore) {
    this.random = createSeededRandom(seed);
    this.servers = SERVERS.map((name) => new SimulatedServer(name, this.clock, this.random, createStore));
  }

  /** Starts all servers that are down. */
  startServers(): void {
    for (const server of this.servers) if (!server.registry) server.start();
  }

  startProcess(): SimulatedProcess {
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
    const process: SimulatedProcess = { name, keeper, changes };
    this.processes.push(process);
    return process;
  }

  /** Ends a process as SIGTERM does. */
  async stopProcess(process: SimulatedProcess): Promise<void> {
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

  /** Returns the number of leases of r1 that the servers hold. */
  countLeases(): number {
    return this.servers.filter(({ registry }) => registry?.find(ID)?.lease !== undefined).length;
  }
}
