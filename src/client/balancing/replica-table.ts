import type { ListedReplica } from '../../api/replica-list-json.js';
import type { WatchEvent } from '../../api/watch-events.js';
import type { Endpoint, ReplicaId } from '../../core/ids.js';
import type { ReplicaLoad } from '../../core/load.js';
import type { Clock } from '../../core/ports.js';
import { type Listing, mergeListings } from '../merged-list.js';
import type { ServerAddress } from '../server-list.js';

/**
 * How long an entry stays that no server confirms, in ms: its servers are disconnected, or left it out of a list. The time
 * counts only while a server is connected.
 */
export const UNCONFIRMED_FOR_MS = 15_000;

/** State of one API server. */
interface ServerView {
  isConnected: boolean;
  isWarming: boolean;
  /** Whether a complete list has arrived since the connection began. */
  isSynced: boolean;
  readonly replicas: Map<ReplicaId, ServerEntry>;
  /** Ids in the list that is arriving; undefined between lists. */
  arriving: Set<ReplicaId> | undefined;
}

/** A replica as one API server lists it. */
interface ServerEntry {
  listed: ListedReplica;
  /** Time on the table's clock from which the server no longer confirms the replica; undefined while it does. */
  unconfirmedSinceMs: number | undefined;
}

/**
 * The replicas that match a client's query: the union of the lists of all API servers, kept up to date by their events. A
 * replica leaves when a server removes it and no other connected server lists it. A server that is disconnected, has just
 * started, or leaves a replica out of its list removes nothing at once.
 *
 * The table fails static: while no server is connected, it keeps all entries.
 */
export class ReplicaTable {
  readonly #clock: Clock;
  readonly #onRemoved: (listed: ListedReplica) => void;
  readonly #servers = new Map<ServerAddress, ServerView>();
  /** The entries, merged; undefined after a change. */
  #merged: ReadonlyMap<ReplicaId, ListedReplica> | undefined;
  /** Time during which at least one server was connected, in ms, up to the last change of that. */
  #connectedMs = 0;
  #connectedSinceMs: number | undefined;
  #cancelExpiry = (): void => {};
  #onLoad: (endpoint: Endpoint, load: ReplicaLoad) => void = () => {};
  #onLoaded = (): void => {};
  /** Resolves when the table is loaded for the first time. */
  readonly loaded = new Promise<void>((resolve) => {
    this.#onLoaded = resolve;
  });

  /** `onRemoved` is called when a replica leaves the table, and for its old endpoint when it has a new one. */
  constructor(clock: Clock, onRemoved: (listed: ListedReplica) => void = () => {}) {
    this.#clock = clock;
    this.#onRemoved = onRemoved;
  }

  /** Whether a server is connected and has sent a complete list, or had done so before all servers were lost. */
  get isLoaded(): boolean {
    return [...this.#servers.values()].some(({ isSynced }) => isSynced);
  }

  /** Whether all connected servers have just started, so that replicas can be missing. */
  get isWarming(): boolean {
    const connected = [...this.#servers.values()].filter(({ isConnected }) => isConnected);
    return connected.length > 0 && connected.every(({ isWarming }) => isWarming);
  }

  /** Whether at least one server is connected. */
  get isConnected(): boolean {
    return this.#connectedSinceMs !== undefined;
  }

  /** Returns the replicas by id. Of several registrations of one id, returns the one that `anyserve registry` shows. */
  get replicas(): ReadonlyMap<ReplicaId, ListedReplica> {
    this.#merged ??= this.#merge();
    return this.#merged;
  }

  /** Calls the listener with each load that a server reports. There is one listener. */
  followLoads(listener: (endpoint: Endpoint, load: ReplicaLoad) => void): void {
    this.#onLoad = listener;
  }

  /** Records that a connection to a server has begun. Has no effect while it lasts, so it can be called with each event. */
  connect(server: ServerAddress): void {
    const view = this.#servers.get(server);
    if (view?.isConnected) return;
    if (view) view.isConnected = true;
    else this.#servers.set(server, createView());
    this.#connectedSinceMs ??= this.#clock.nowMs();
    this.#scheduleExpiry();
  }

  /** Records that the connection to a server has ended. Its replicas stay for 15 s unless others list them. */
  disconnect(server: ServerAddress): void {
    const view = this.#servers.get(server);
    if (!view?.isConnected) return;
    view.isConnected = false;
    view.arriving = undefined;
    const nowMs = this.#getConnectedMs();
    for (const entry of view.replicas.values()) {
      // The list of a server that is warming was no evidence that a replica has left.
      if (view.isWarming) entry.unconfirmedSinceMs = nowMs;
      else entry.unconfirmedSinceMs ??= nowMs;
    }
    if ([...this.#servers.values()].every(({ isConnected }) => !isConnected)) {
      this.#connectedMs = nowMs;
      this.#connectedSinceMs = undefined;
    }
    this.#scheduleExpiry();
  }

  /** Forgets a server that is no longer in the list of servers. Its replicas leave unless others list them. */
  forget(server: ServerAddress): void {
    this.disconnect(server);
    const view = this.#servers.get(server);
    this.#servers.delete(server);
    for (const entry of view?.replicas.values() ?? []) this.#reportIfGone(entry);
    this.#merged = undefined;
  }

  /** Applies an event of a connected server. */
  apply(server: ServerAddress, event: WatchEvent): void {
    const view = this.#servers.get(server);
    if (!view?.isConnected) return;
    switch (event.kind) {
      case 'snapshot':
        view.isWarming = event.isWarming;
        view.arriving = new Set();
        break;
      case 'put':
        this.#put(view, event.replica);
        break;
      case 'synced':
        this.#completeList(view);
        break;
      case 'removed':
        this.#remove(view, event.replicaId);
        break;
      case 'load':
        for (const { replicaId, load } of event.loads) this.#reportLoad(view, replicaId, load);
        break;
      case 'warm':
        view.isWarming = false;
        // From now on, a replica that the server does not list is missing, not on its way back.
        this.#scheduleExpiry();
        break;
      default:
        event satisfies never;
    }
  }

  /** Ends the timers. */
  close(): void {
    this.#cancelExpiry();
  }

  #put(view: ServerView, listed: ListedReplica): void {
    view.arriving?.add(listed.replica.id);
    const entry = view.replicas.get(listed.replica.id);
    if (entry) {
      const previous = entry.listed;
      entry.listed = listed;
      entry.unconfirmedSinceMs = undefined;
      if (previous.replica.endpoint !== listed.replica.endpoint) this.#onRemoved(previous);
    } else view.replicas.set(listed.replica.id, { listed, unconfirmedSinceMs: undefined });
    this.#merged = undefined;
    // Only a list has current loads. A server repeats old rows to a client that comes back.
    if (view.arriving && listed.load) this.#reportLoad(view, listed.replica.id, listed.load);
  }

  #reportLoad({ replicas }: ServerView, id: ReplicaId, load: ReplicaLoad): void {
    const entry = replicas.get(id);
    if (entry) this.#onLoad(entry.listed.replica.endpoint, load);
  }

  /**
   * Marks the replicas that a complete list left out. Without a list, the server sent all changes since the last connection:
   * it confirms the replicas that are left.
   */
  #completeList(view: ServerView): void {
    const nowMs = this.#getConnectedMs();
    for (const [id, entry] of view.replicas) {
      if (!view.arriving) entry.unconfirmedSinceMs = undefined;
      else if (!view.arriving.has(id)) entry.unconfirmedSinceMs ??= nowMs;
    }
    view.arriving = undefined;
    view.isSynced = true;
    this.#onLoaded();
    this.#scheduleExpiry();
  }

  /** Removes a replica from one server's view, and from the table unless another connected server lists it. */
  #remove(view: ServerView, id: ReplicaId): void {
    const entry = view.replicas.get(id);
    if (!entry) return;
    view.replicas.delete(id);
    this.#merged = undefined;
    for (const other of this.#servers.values()) {
      if (other.replicas.get(id)?.unconfirmedSinceMs === undefined) continue;
      // Nobody confirms it any more: a server that is away would only have kept it in case of doubt.
      if (!this.#isConfirmed(id)) other.replicas.delete(id);
    }
    this.#reportIfGone(entry);
  }

  #isConfirmed(id: ReplicaId): boolean {
    return [...this.#servers.values()].some(({ replicas }) => {
      const entry = replicas.get(id);
      return entry !== undefined && entry.unconfirmedSinceMs === undefined;
    });
  }

  #reportIfGone({ listed }: ServerEntry): void {
    const { id } = listed.replica;
    if (![...this.#servers.values()].some(({ replicas }) => replicas.has(id))) this.#onRemoved(listed);
  }

  /** Removes the entries that no server has confirmed for 15 s, and schedules the next check. */
  #scheduleExpiry(): void {
    this.#cancelExpiry();
    if (this.#connectedSinceMs === undefined) return;
    const nowMs = this.#getConnectedMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const view of this.#servers.values()) {
      // A server that has just started leaves out replicas that are on their way back.
      if (view.isConnected && view.isWarming) continue;
      for (const [id, entry] of view.replicas) {
        const { unconfirmedSinceMs } = entry;
        if (unconfirmedSinceMs === undefined) continue;
        const remainingMs = unconfirmedSinceMs + UNCONFIRMED_FOR_MS - nowMs;
        if (remainingMs > 0) nextMs = Math.min(nextMs, remainingMs);
        else this.#expire(view, id, entry);
      }
    }
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#cancelExpiry = this.#clock.schedule(nextMs, () => this.#scheduleExpiry(), { background: true });
  }

  #expire(view: ServerView, id: ReplicaId, entry: ServerEntry): void {
    view.replicas.delete(id);
    this.#merged = undefined;
    this.#reportIfGone(entry);
  }

  /** Returns the time on the table's clock, which stands still while no server is connected. */
  #getConnectedMs(): number {
    const sinceMs = this.#connectedSinceMs;
    return sinceMs === undefined ? this.#connectedMs : this.#connectedMs + this.#clock.nowMs() - sinceMs;
  }

  #merge(): ReadonlyMap<ReplicaId, ListedReplica> {
    const listings = new Map<ReplicaId, Listing[]>();
    // Rows that a server confirms come first: those of a disconnected server are older.
    for (const isConfirmed of [true, false]) {
      for (const [server, { replicas }] of this.#servers) {
        for (const [id, { listed, unconfirmedSinceMs }] of replicas) {
          if ((unconfirmedSinceMs === undefined) !== isConfirmed) continue;
          const found = listings.get(id);
          if (!found) listings.set(id, [{ server, listed }]);
          else if (isConfirmed) found.push({ server, listed });
        }
      }
    }
    return new Map([...listings].map(([id, found]) => [id, mergeListings(found).listed]));
  }
}

function createView(): ServerView {
  return { isConnected: true, isWarming: false, isSynced: false, replicas: new Map(), arriving: undefined };
}
