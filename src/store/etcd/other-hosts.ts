import type { HostCounts } from '../../core/self-preservation.js';
import type { JsonObject } from '../../json/json-value.js';
import { toCount } from './registration-record.js';

/** The members of a marker that count the hosts of its server. */
export function serializeHostCounts({ hosts, silent }: HostCounts): string {
  return `"hosts":${hosts},"silent":${silent}`;
}

/**
 * The counts of hosts that other API servers publish with their markers. A server with one or two hosts can't recognize a mass
 * failure by itself: it compares its hosts with those of all servers.
 */
export class OtherHosts {
  /** The counts of each server, and when they arrived. */
  readonly #counts = new Map<string, { readonly counts: HostCounts; readonly atMs: number }>();

  /** Records the marker of a server. Servers of an older version count no hosts. */
  record(server: string, marker: JsonObject | undefined, nowMs: number): void {
    const [hosts, silent] = [toCount(marker?.get('hosts')) ?? 0, toCount(marker?.get('silent')) ?? 0];
    this.#counts.set(server, { counts: { hosts, silent }, atMs: nowMs });
  }

  /** Forgets a server whose marker is gone. */
  forget(server: string): void {
    this.#counts.delete(server);
  }

  /** Returns the sum of the counts that arrived at `sinceMs` or later. Those of a server that is dead or frozen prove nothing. */
  count(sinceMs: number): HostCounts {
    let [hosts, silent] = [0, 0];
    for (const { counts, atMs } of this.#counts.values()) {
      if (atMs < sinceMs) continue;
      hosts += counts.hosts;
      silent += counts.silent;
    }
    return { hosts, silent };
  }
}
