import { formatState, type ListedReplica } from '../api/replica-list-json.js';
import { serializeReplicaLoad, type WatchEvent } from '../api/watch-events.js';
import { escapeControls } from '../core/control-characters.js';
import type { ReplicaId } from '../core/ids.js';
import { truncateText } from '../core/quoting.js';
import { formatCapabilities } from '../json/capability-json.js';
import { formatTimeOfDay } from '../system.js';
import type { CommandIo } from './command.js';
import { createColors } from './output.js';

/** Maximum length of the description of a replica in a line, in UTF-16 units. An engine can have thousands of models. */
const MAX_PRINTED = 1000;

/** A change of the list: a replica was added (`+`), changed (`~`) or removed (`-`). */
export interface ListChange {
  readonly sign: '+' | '~' | '-';
  readonly replicaId: ReplicaId;
  /** The replica's state, endpoint and capabilities, or the reason of its removal. */
  readonly text: string;
}

/** The list of one API server, as far as its events tell. Finds what a new snapshot changes. */
export class ListTracker {
  /** The description of each replica. */
  readonly #replicas = new Map<ReplicaId, string>();
  /** The replicas that a new snapshot has not confirmed. */
  #unconfirmed = new Set<ReplicaId>();
  #isWarming = false;

  /** Applies an event and returns the changes of the list. */
  apply(event: WatchEvent): ListChange[] {
    switch (event.kind) {
      case 'snapshot':
        this.#isWarming = event.isWarming;
        this.#unconfirmed = new Set(this.#replicas.keys());
        return [];
      case 'put':
        return this.#put(event.replica);
      case 'removed':
        return this.#remove(event.replicaId, event.reason);
      case 'load':
        return [];
      case 'warm':
        this.#isWarming = false;
        return this.#removeUnconfirmed();
      case 'synced':
        // Replicas can still be registering again with a server that has just started.
        return this.#isWarming ? [] : this.#removeUnconfirmed();
      default:
        return event satisfies never;
    }
  }

  #put(listed: ListedReplica): ListChange[] {
    const { id: replicaId } = listed.replica;
    const text = describeReplica(listed);
    const previous = this.#replicas.get(replicaId);
    this.#unconfirmed.delete(replicaId);
    this.#replicas.set(replicaId, text);
    return text === previous ? [] : [{ sign: previous === undefined ? '+' : '~', replicaId, text }];
  }

  #remove(replicaId: ReplicaId, reason: string): ListChange[] {
    this.#unconfirmed.delete(replicaId);
    return this.#replicas.delete(replicaId) ? [{ sign: '-', replicaId, text: reason }] : [];
  }

  #removeUnconfirmed(): ListChange[] {
    return [...this.#unconfirmed].flatMap((id) => this.#remove(id, 'left while the API server was not connected'));
  }
}

/** Formats a change as a line, with the server's name if there are several servers. */
export function formatListChange(
  { sign, replicaId, text }: ListChange,
  serverName: string | undefined,
  { stdout, env }: Pick<CommandIo, 'stdout' | 'env'>,
): string {
  const colours = createColors(stdout, env);
  const colour = { '+': colours.green, '~': colours.yellow, '-': colours.red }[sign];
  const details = [replicaId, truncateText(text, MAX_PRINTED), ...(serverName === undefined ? [] : [serverName])].join(
    '  ',
  );
  return `${colours.dim(formatTimeOfDay())}  ${colour(sign)} ${escapeControls(details)}\n`;
}

/** Formats an event as JSON, with the name of the server. */
export function formatWatchEventJson(event: WatchEvent, serverName: string): string {
  const server = JSON.stringify(serverName);
  const kind = JSON.stringify(event.kind);
  return `${escapeControls(`{"event":${kind},"server":${server}${formatMembers(event)}}`)}\n`;
}

function formatMembers(event: WatchEvent): string {
  switch (event.kind) {
    case 'snapshot':
      return `,"warming":${event.isWarming}`;
    case 'put':
      // The entry as the server wrote it.
      return `,"replica":${event.replica.toText()}`;
    case 'removed':
      return `,"replica_id":${JSON.stringify(event.replicaId)},"reason":${JSON.stringify(event.reason)}`;
    case 'load':
      return `,"loads":[${event.loads.map(({ replicaId, load }) => serializeReplicaLoad(replicaId, load)).join()}]`;
    case 'synced':
    case 'warm':
      return '';
    default:
      return event satisfies never;
  }
}

function describeReplica(listed: ListedReplica): string {
  const { endpoint, capabilities } = listed.replica;
  return [formatState(listed), endpoint, formatCapabilities(capabilities)].join('  ').trimEnd();
}
