import type { LeaseId, ReplicaId } from '../../src/core/ids.js';
import type { Registration, Replica } from '../../src/core/replica.js';
import type { EtcdStore } from '../../src/store/etcd/etcd-store.js';
import { createTestEtcdStore } from './etcd-store.js';
import type { ManualClock } from './manual-clock.js';
import { createCountingIds, createRecordingEvents } from './replicas.js';
import { createSeededRandom } from './seeded-random.js';
import { connectSimulatedEtcd, type SimulatedEtcd } from './simulated-etcd.js';

/** Advances the clock from task to task, and lets promises settle after each. */
export async function advance(clock: ManualClock, ms: number): Promise<void> {
  const untilMs = clock.nowMs() + ms;
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    const leftMs = untilMs - clock.nowMs();
    if (clock.nextDelayMs > leftMs) {
      clock.advance(leftMs);
      return;
    }
    clock.advance(clock.nextDelayMs);
  }
}

/** An API server's store over a simulated etcd, with what its subscriber knows. */
export class SimulatedStore {
  readonly store: EtcdStore<Replica>;
  readonly link: ReturnType<typeof connectSimulatedEtcd>['link'];
  /** The registrations that the subscriber has. */
  readonly shown = new Map<ReplicaId, Registration>();
  /** The registrations that this server granted and that have not ended. */
  readonly own = new Map<ReplicaId, Registration>();
  /** Own registrations that ended although nobody registered the id again, or ended them here. */
  readonly lost: ReplicaId[] = [];
  /** The leases that became local, with the reasons, or were shared again. */
  readonly sharing: string[] = [];
  readonly events = createRecordingEvents();
  #ending: LeaseId | undefined;

  constructor(etcd: SimulatedEtcd, clock: ManualClock, seed = 1) {
    const api = connectSimulatedEtcd(etcd, clock);
    this.link = api.link;
    const ids = createCountingIds();
    const createServerId = () => `server-${seed}` as ReturnType<typeof ids.createServerId>;
    const random = createSeededRandom(seed);
    this.store = createTestEtcdStore({
      api,
      clock,
      random,
      ids: { ...ids, createServerId },
      events: this.events,
    });
    this.store.subscribe((event) => {
      if (event.kind === 'sharing') {
        this.sharing.push(`${event.lease}: ${event.problem ?? 'shared'}`);
        return;
      }
      const id = event.kind === 'delete' ? event.replicaId : event.registration.replica.id;
      const present = this.own.get(id);
      if (event.kind === 'delete') {
        this.shown.delete(id);
        if (present && event.lease === present.lease && event.lease !== this.#ending) this.lost.push(id);
        return;
      }
      this.shown.set(id, event.registration);
      if (present && event.registration.lease !== present.lease) this.own.delete(id);
    });
  }

  /** Registers a replica. Does not wait until etcd has it. */
  put(registration: Registration): void {
    this.own.delete(registration.replica.id);
    void this.store.put(registration);
    this.own.set(registration.replica.id, registration);
  }

  /** Ends the own registration of an id. */
  end(id: ReplicaId): void {
    const lease = this.own.get(id)?.lease;
    if (lease === undefined) return;
    this.#ending = lease;
    void this.store.delete(lease, 'closed');
    this.own.delete(id);
  }
}
