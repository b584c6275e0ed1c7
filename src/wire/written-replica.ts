import type { Capability } from '../core/capability.js';
import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { ownText } from './own-text.js';

/**
 * A replica with the texts that answers are made of: they are made when it registers, and not when somebody asks. They are
 * kept in the replica, because a WeakMap of 100,000 makes every small garbage collection take 10 ms. Its other texts are parts
 * of its entry, which takes less memory than a copy of each, and leaves none of the body that they were read from. Its id is
 * not: it outlives the replica as a key of lists in which another registration has the same place.
 */
export class WrittenReplica implements Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
  readonly #entry: string;
  readonly #route: string;

  constructor(replica: Replica) {
    const entry = entryText(replica);
    this.#entry = entry;
    this.#route = routeText(replica);
    this.id = asReplicaId(ownText(replica.id));
    this.endpoint = asEndpoint(partOf(entry, replica.endpoint));
    this.capabilities = replica.capabilities.map(({ pairs, source }) => ({ pairs, source: partOf(entry, source) }));
  }

  static entryOf(replica: Replica): string {
    return #entry in replica ? replica.#entry : entryText(replica);
  }

  static routeOf(replica: Replica): string {
    return #route in replica ? replica.#route : routeText(replica);
  }
}

/** A replica as it registers itself and as the list shows it. */
export function replicaText(replica: Replica): string {
  return WrittenReplica.entryOf(replica);
}

/** The body of `GET /route`: its bytes, each as one character, which is how Node writes it fastest. */
export function routeBytes(replica: Replica): string {
  return WrittenReplica.routeOf(replica);
}

function entryText({ id, endpoint, capabilities }: Replica): string {
  const sources = capabilities.map(({ source }) => source).join(',');
  const start = ['{"replica_id":', JSON.stringify(id), ',"endpoint":', JSON.stringify(endpoint)];
  // Joined, it is one text; put together in any other way it is a tree of texts, gone through again for every list.
  return [...start, ',"capabilities":[', sources, ']}'].join('');
}

function routeText({ endpoint, id }: Replica): string {
  const text = `{"endpoint":${JSON.stringify(endpoint)},"replica_id":${JSON.stringify(id)}}`;
  return Buffer.from(text).toString('latin1');
}

/** A text as the part of another, where that has it as it is: in JSON some characters are written in another way. */
function partOf(whole: string, text: string): string {
  const at = whole.indexOf(text);
  return at < 0 ? text : whole.slice(at, at + text.length);
}
