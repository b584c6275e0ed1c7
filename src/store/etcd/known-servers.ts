import type { ServerId } from '../../core/ids.js';
import type { LeaseOwner } from '../../core/ports.js';

/** The content of a server's marker. */
export interface KnownServer {
  /** Its etcd lease. */
  readonly lease: bigint;
  /** URL at which it takes requests of other servers. Undefined if it has not reported one. */
  readonly url: string | undefined;
}

/** Maximum number of servers without a marker that are remembered. */
const MAX_LOST = 1000;

/**
 * The API servers by their markers, and the URLs of the last ones that lost theirs. Such a server can still have leases, because
 * it keeps them when it can't reach etcd.
 */
export class KnownServers {
  readonly #present = new Map<string, KnownServer>();
  /** The servers without a marker, with the time at which it ended. Oldest first. */
  readonly #lost = new Map<string, { readonly url: string | undefined; readonly atMs: number }>();

  /** Number of servers with a marker. */
  get count(): number {
    return this.#present.size;
  }

  /** Returns whether a server with a marker has this etcd lease. */
  hasLease(lease: bigint): boolean {
    for (const server of this.#present.values()) if (server.lease === lease) return true;
    return false;
  }

  /** Returns how to ask a server for its leases. Undefined for an unknown server. */
  find(id: ServerId, nowMs: number): LeaseOwner | undefined {
    const present = this.#present.get(id);
    if (present) return { url: present.url, lostForMs: undefined };
    const lost = this.#lost.get(id);
    return lost && { url: lost.url, lostForMs: nowMs - lost.atMs };
  }

  /** Records the marker of a server. */
  record(id: string, server: KnownServer): void {
    this.#present.set(id, server);
    this.#lost.delete(id);
  }

  /** Records that a marker is gone. Returns the etcd lease of its server. */
  remove(id: string, nowMs: number): bigint | undefined {
    const server = this.#present.get(id);
    if (!server) return undefined;
    this.#present.delete(id);
    this.#lost.set(id, { url: server.url, atMs: nowMs });
    const [oldest] = this.#lost.keys();
    if (this.#lost.size > MAX_LOST && oldest !== undefined) this.#lost.delete(oldest);
    return server.lease;
  }

  /** Keeps the servers whose markers a complete list has. Returns the etcd leases of the others. */
  keepOnly(listed: ReadonlyMap<string, unknown>, nowMs: number): bigint[] {
    const gone = [...this.#present.keys()].filter((id) => !listed.has(id));
    return gone.flatMap((id) => this.remove(id, nowMs) ?? []);
  }
}
