import type { LiveFleet } from './live-fleet.js';
import type { ServerApi } from './server-api.js';

/** Maximum number of replicas of a request in addition to the visible ones. */
const MAX_OTHERS = 200;

/** Maximum length of the ids of a request, in UTF-16 units. Servers accept headers of 16 KiB. */
const MAX_ID_UNITS = 4000;

/**
 * Asks when the API server last heard of the replicas, because renewals are no events. Each request is about the visible
 * replicas and about the next few others, so a page of 10,000 replicas costs the server as much as one of 200.
 */
export class SeenPoller {
  readonly #fleet: LiveFleet;
  readonly #api: Pick<ServerApi, 'readSeen'>;
  #visibleIds: readonly string[] = [];
  /** Number of replicas since the start of the list that have had their turn. */
  #position = 0;

  constructor(fleet: LiveFleet, api: Pick<ServerApi, 'readSeen'>) {
    this.#fleet = fleet;
    this.#api = api;
  }

  /** Sets the replicas that are visible. */
  watch(ids: readonly string[]): void {
    this.#visibleIds = ids;
  }

  async poll(): Promise<void> {
    const ids = this.#chooseIds();
    if (ids.length === 0) return;
    for (const { replica_id: id, last_seen: seen } of await this.#api.readSeen(ids)) {
      this.#fleet.updateSeen(id, typeof seen === 'number' ? seen * 1000 : undefined);
    }
  }

  #chooseIds(): string[] {
    const all = [...this.#fleet.rows.keys()];
    if (this.#position >= all.length) this.#position = 0;
    const others = all.slice(this.#position, this.#position + MAX_OTHERS);
    this.#position += others.length;
    const chosen = new Set<string>();
    let units = 0;
    for (const id of [...this.#visibleIds, ...others]) {
      units += encodeURIComponent(id).length;
      if (units > MAX_ID_UNITS) break;
      chosen.add(id);
    }
    return [...chosen];
  }
}
