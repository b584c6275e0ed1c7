import { expect, it } from 'vitest';
import { CordonRelay } from '../../src/client/cordon-relay.js';
import { type Cordon, chooseNewerCordon } from '../../src/core/cordon.js';
import { asReplicaId, type LeaseId } from '../../src/core/ids.js';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, replica, TEST_REGISTRY } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

const R1 = asReplicaId('r1');
const SEEDS = 300;
const STEPS = 60;

/** Clock of a server whose wall clock is wrong by this many ms. */
class SkewedClock extends ManualClock {
  readonly #skewMs: number;

  constructor(skewMs: number) {
    super();
    this.#skewMs = skewMs;
  }

  override epochMs(): number {
    return super.epochMs() + this.#skewMs;
  }
}

/** An API server without its network, at which r1 can have a lease. */
class Server {
  readonly #clock: SkewedClock;
  registry: Registry;
  lease: LeaseId | undefined;

  constructor(skewMs: number) {
    this.#clock = new SkewedClock(skewMs);
    this.registry = this.#createRegistry();
  }

  get cordon(): Cordon | undefined {
    return this.registry.cordons.find(R1);
  }

  /** Registers r1, or renews its lease, as a keeper does. A keeper that gets no response records nothing. */
  async contact(relay: CordonRelay<Server>, hasResponse: boolean): Promise<void> {
    if (!this.lease) {
      const terms = { host: 'h', ttlMs: 9000, cordon: relay.newest };
      this.lease = await this.registry.register(replica('r1', { type: 'chat' }), terms, () => {});
      return;
    }
    const repeated = relay.findUnknownTo(this);
    if (repeated) await this.registry.cordons.adopt(this.lease, repeated);
    await this.registry.renew(this.lease, 'ready');
    if (hasResponse) relay.record(this, this.registry.cordons.findByLease(this.lease));
  }

  async leave(): Promise<void> {
    if (this.lease) await this.registry.release(this.lease, 'released');
    this.lease = undefined;
  }

  restart(): void {
    this.registry = this.#createRegistry();
    this.lease = undefined;
  }

  advance(ms: number): void {
    this.#clock.advance(ms);
  }

  #createRegistry(): Registry {
    return new Registry({
      store: new MemoryStore(TEST_REGISTRY),
      clock: this.#clock,
      random: createSeededRandom(1),
      ids: createCountingIds(),
      events: createRecordingEvents(),
    });
  }
}

async function runSeed(seed: number): Promise<void> {
  const random = createSeededRandom(seed);
  const pick = (count: number): number => Math.floor(random.fraction() * count);
  const servers = [0, -60_000, 60_000].map((skewMs) => new Server(skewMs));
  let relay = new CordonRelay<Server>(() => {});
  const heard: Cordon[] = [];
  for (let step = 0; step < STEPS; step++) {
    const server = servers[pick(servers.length)] as Server;
    const before = server.cordon;
    const action = pick(20);
    if (action < 10) await server.contact(relay, pick(4) > 0);
    else if (action < 14) await server.registry.cordons.set(R1, { cordoned: pick(2) === 0, reason: `${step}` });
    else if (action === 14) server.restart();
    else if (action === 15) await server.leave();
    else if (action === 16) relay = new CordonRelay<Server>(() => {});
    else if (action === 17 && server.lease && heard.length > 0)
      await server.registry.cordons.adopt(server.lease, heard[pick(heard.length)] as Cordon);
    else for (const one of servers) one.advance(pick(3));
    if (server.cordon) heard.push(server.cordon);
    // Only a restart makes a server forget.
    if (action !== 14) expect(chooseNewerCordon(before, server.cordon), `seed ${seed}`).toEqual(server.cordon);
  }
  const newest = [relay.newest, ...servers.map(({ cordon }) => cordon)].reduce(chooseNewerCordon, undefined);
  for (let round = 0; round < 3; round++) for (const server of servers) await server.contact(relay, true);
  for (const { cordon, registry } of servers) {
    expect(cordon, `seed ${seed}`).toEqual(newest);
    expect(registry.replicas().length, `seed ${seed}`).toBe(newest?.cordoned ? 0 : 1);
  }
}

it(`servers and a replica end with the newest cordon that one of them has, over ${SEEDS} random orders of events`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await runSeed(seed);
});
