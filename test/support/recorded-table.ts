import type { WatchEvent } from '../../src/api/watch-events.js';
import { ReplicaTable } from '../../src/client/balancing/replica-table.js';
import type { ServerAddress } from '../../src/client/server-list.js';
import type { Clock } from '../../src/core/ports.js';
import type { RunEvent } from './recording.js';

/** The table of a client, which records its connections and the changes of its ids. */
export class RecordedTable extends ReplicaTable {
  readonly #record: (event: RunEvent) => void;
  readonly #present = new Set<string>();
  readonly #connected = new Set<ServerAddress>();

  constructor(clock: Clock, record: (event: RunEvent) => void) {
    const listener = { onRemoved: (_id: string): void => {} };
    super(clock, ({ replica }) => listener.onRemoved(replica.id));
    this.#record = record;
    listener.onRemoved = (id) => this.#recordRemovals([id]);
  }

  override connect(server: ServerAddress): void {
    super.connect(server);
    if (this.#connected.has(server)) return;
    this.#connected.add(server);
    this.#record({ kind: 'table-connected', server: server.url });
  }

  override disconnect(server: ServerAddress): void {
    super.disconnect(server);
    this.#recordRemovals([...this.#present]);
    if (this.#connected.delete(server)) this.#record({ kind: 'table-disconnected', server: server.url });
  }

  override apply(server: ServerAddress, event: WatchEvent): void {
    super.apply(server, event);
    switch (event.kind) {
      case 'put':
        this.#recordAddition(event.replica.replica.id);
        break;
      case 'removed':
        // The table calls its listener. Many removals can follow each other, and each comparison merges all lists.
        break;
      default:
        this.#recordRemovals([...this.#present]);
    }
  }

  #recordAddition(id: string): void {
    if (this.#present.has(id)) return;
    this.#present.add(id);
    this.#record({ kind: 'table-added', id });
  }

  #recordRemovals(ids: readonly string[]): void {
    const replicas: ReadonlyMap<string, unknown> = this.replicas;
    for (const id of ids) {
      if (!replicas.has(id) && this.#present.delete(id)) this.#record({ kind: 'table-removed', id });
    }
  }
}
