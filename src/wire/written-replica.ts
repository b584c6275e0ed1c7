import type { Capability } from '../core/capability.js';
import type { Endpoint, ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';

/**
 * A replica with the texts that answers are made of: they are made when it registers, and not when somebody asks. They are
 * kept in the replica, because a WeakMap of 100,000 makes every small garbage collection take 10 ms.
 */
export class WrittenReplica implements Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
  readonly #entry: string;
  readonly #route: string;

  constructor({ id, endpoint, capabilities }: Replica) {
    this.id = id;
    this.endpoint = endpoint;
    this.capabilities = capabilities;
    this.#entry = entryText(this);
    this.#route = routeText(this);
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
