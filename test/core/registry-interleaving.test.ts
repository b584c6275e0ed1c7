import { expect, it } from 'vitest';
import type { LeaseId } from '../../src/core/ids.js';
import { Registry } from '../../src/core/registry.js';
import type { DeclaredState, ReplicaState } from '../../src/core/replica.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, prepareQuery, replica, TEST_REGISTRY } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

/** The seeds are the same in each run. More of them cover more orders. */
const SEEDS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 5000);
const STEPS = 30;
const REPLICAS = 4;
const SUSPECT_MS = 60_000;
const AFTER_PAUSE_MS = 10_000;
const REMEMBERED_MS = 60_000;
const NONE: ReadonlySet<never> = new Set();

/** A lease in the model. */
interface ModelLease {
  readonly lease: LeaseId;
  readonly ttlMs: number | undefined;
  declared: DeclaredState;
  seenAtMs: number;
  /** Time at which the timer of the lease runs. */
  dueMs: number;
  isSuspect: boolean;
}

/** Runs a simple model of the lease rules and the real registry side by side. */
class Interleaving {
  readonly #random;
  readonly #clock = new ManualClock();
  readonly #ids = createCountingIds();
  #registry: Registry;
  /** The lease that holds each id. */
  #holders = new Map<string, ModelLease>();
  /** All leases, active or ended. */
  readonly #leases: LeaseId[] = [];
  /** The superseded leases of this server and their end times. */
  #superseded = new Map<LeaseId, number>();
  /** Last time at which a timer ran so late that the server must have been paused. */
  #pausedAtMs = Number.NEGATIVE_INFINITY;
  readonly steps: string[] = [];

  constructor(seed: number) {
    this.#random = createSeededRandom(seed);
    this.#registry = this.#started();
  }

  async run(): Promise<void> {
    const actions = [
      () => this.#register(),
      () => this.#register(),
      () => this.#renew(),
      () => this.#renew(),
      () => this.#end('closed'),
      () => this.#end('released'),
      () => this.#accuse(),
      () => this.#pass('passes', this.#below(12_000)),
      () => this.#pass('passes', this.#below(80_000)),
      () => this.#pass('stands still', this.#below(25_000)),
      ...(this.#below(10) === 0 ? [() => this.#restart()] : []),
    ];
    for (let step = 0; step < STEPS; step++) {
      await (actions[this.#below(actions.length)] as () => Promise<void>)();
      this.#compare();
    }
    await this.#registry.close();
    expect(this.#clock.pending()).toEqual([]);
  }

  #started(): Registry {
    const options = { store: new MemoryStore(TEST_REGISTRY), clock: this.#clock, random: this.#random, ids: this.#ids };
    return new Registry({ ...options, events: createRecordingEvents() });
  }

  async #register(): Promise<void> {
    const id = `r${this.#below(REPLICAS)}`;
    const ttlMs = this.#below(3) === 0 ? undefined : 1000 + this.#below(9000);
    const lease = await this.#registry.register(replica(id, { type: 'x' }), { host: 'h', ttlMs }, () => {});
    this.steps.push(`${lease} registers ${id}, ttl ${ttlMs}`);
    const previous = this.#holders.get(id);
    if (previous) this.#superseded.set(previous.lease, this.#clock.nowMs());
    const seenAtMs = this.#clock.nowMs();
    const dueMs = ttlMs === undefined ? Number.POSITIVE_INFINITY : seenAtMs + ttlMs;
    this.#holders.set(id, { lease, ttlMs, declared: 'ready', seenAtMs, dueMs, isSuspect: false });
    this.#leases.push(lease);
  }

  async #renew(): Promise<void> {
    const lease = this.#anyLease();
    if (lease === undefined) return;
    const state = ([undefined, undefined, 'ready', 'unready', 'draining'] as const)[this.#below(5)];
    this.steps.push(`${lease} renews, ${state}`);
    const [, held] = this.#holderOf(lease) ?? [];
    const renewal = await this.#registry.renew(lease, state);
    const isTold = this.#clock.nowMs() - (this.#superseded.get(lease) ?? Number.NEGATIVE_INFINITY) <= REMEMBERED_MS;
    expect(renewal).toBe(held ? 'renewed' : isTold ? 'superseded' : 'unknown');
    if (!held) return;
    held.seenAtMs = this.#clock.nowMs();
    held.declared = state ?? held.declared;
    if (held.isSuspect) held.dueMs = held.seenAtMs + (held.ttlMs ?? Number.POSITIVE_INFINITY);
    held.isSuspect = false;
  }

  async #end(end: 'closed' | 'released'): Promise<void> {
    const lease = this.#anyLease();
    if (lease === undefined) return;
    this.steps.push(`${lease} is ${end}`);
    const [id] = this.#holderOf(lease) ?? [];
    expect(await this.#registry.release(lease, end)).toBe(id !== undefined);
    if (id !== undefined) this.#holders.delete(id);
  }

  async #accuse(): Promise<void> {
    const lease = this.#anyLease();
    if (lease === undefined) return;
    this.steps.push(`${lease} is silent`);
    await this.#registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0 });
    const [id, held] = this.#holderOf(lease) ?? [];
    if (held && !held.isSuspect) this.#accused(id as string, held, 0);
  }

  async #pass(how: 'passes' | 'stands still', ms: number): Promise<void> {
    this.steps.push(`${ms} ms: time ${how}`);
    const endMs = this.#clock.nowMs() + ms;
    const due = (): [string, ModelLease] | undefined =>
      [...this.#holders].filter(([, { dueMs }]) => dueMs <= endMs).sort(([, a], [, b]) => a.dueMs - b.dueMs)[0];
    for (let next = due(); next; next = due()) {
      const [id, held] = next;
      const nowMs = how === 'passes' ? held.dueMs : endMs;
      if (held.isSuspect) this.#holders.delete(id);
      else if (held.seenAtMs + (held.ttlMs as number) > nowMs) held.dueMs = held.seenAtMs + (held.ttlMs as number);
      else this.#accused(id, held, nowMs - held.dueMs, nowMs);
    }
    if (how === 'passes') this.#clock.advance(ms);
    else this.#clock.pause(ms);
    // Timers start work that continues in promises.
    await new Promise((resolve) => setImmediate(resolve));
  }

  async #restart(): Promise<void> {
    this.steps.push('the server starts anew');
    await this.#registry.close();
    this.#registry = this.#started();
    this.#holders = new Map();
    this.#superseded = new Map();
    this.#pausedAtMs = Number.NEGATIVE_INFINITY;
  }

  #accused(id: string, held: ModelLease, timerDelayMs: number, nowMs = this.#clock.nowMs()): void {
    if (timerDelayMs > 1000) this.#pausedAtMs = nowMs;
    if (nowMs - this.#pausedAtMs > AFTER_PAUSE_MS) {
      this.#holders.delete(id);
      return;
    }
    held.isSuspect = true;
    held.dueMs = nowMs + SUSPECT_MS;
  }

  #compare(): void {
    const states = new Map<string, ReplicaState>(
      [...this.#holders].map(([id, { isSuspect, declared }]) => [
        id,
        isSuspect && declared === 'ready' ? 'suspect' : declared,
      ]),
    );
    const known = [...this.#registry.known()].map(
      ({
        registration: {
          replica: { id },
          state,
        },
      }) => [id, state] as const,
    );
    expect(new Map(known)).toEqual(states);
    const routed = this.#registry.route(prepareQuery(), NONE)?.id;
    const wanted = (['ready', 'suspect'] as const).find((state) => [...states.values()].includes(state));
    expect(routed === undefined ? undefined : states.get(routed)).toBe(wanted);
  }

  #holderOf(lease: LeaseId): [string, ModelLease] | undefined {
    return [...this.#holders].find(([, held]) => held.lease === lease);
  }

  /** Picks a lease, preferably an active one. */
  #anyLease(): LeaseId | undefined {
    const running = [...this.#holders.values()].map(({ lease }) => lease);
    const among = running.length > 0 && this.#below(3) > 0 ? running : this.#leases;
    return among[this.#below(among.length)];
  }

  #below(most: number): number {
    return Math.floor(this.#random.fraction() * most);
  }
}

it(`the registry follows the lease rules over ${SEEDS} random orders of events`, async () => {
  // To repeat a failed run, use its seed alone.
  const only = process.env['ANYSERVE_TEST_SEED'];
  const seeds = only === undefined ? Array.from({ length: SEEDS }, (_, at) => at) : [Number(only)];
  for (const seed of seeds) {
    const interleaving = new Interleaving(seed);
    try {
      await interleaving.run();
    } catch (error) {
      const { steps } = interleaving;
      throw new Error(`ANYSERVE_TEST_SEED=${seed} fails after\n  ${steps.join('\n  ')}\n${error}`, { cause: error });
    }
  }
});
