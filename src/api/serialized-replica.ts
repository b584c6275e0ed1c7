import type { Capability } from '../core/capability.js';
import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { detachString } from '../json/string-memory.js';

/**
 * A replica with the texts that answers are made of: they are made when it registers, and not when somebody asks. They are
 * kept in the replica, because a WeakMap of 100,000 makes every small garbage collection take 10 ms. Its other texts are parts
 * of its entry, which takes less memory than a copy of each, and leaves none of the body that they were read from. Its id is
 * not: it outlives the replica as a key of lists in which another registration has the same place.
 */
export class SerializedReplica implements Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
  readonly #entry: string;
  readonly #route: string;

  constructor(replica: Replica) {
    const { head, entry } = entryText(replica);
    this.#entry = entry;
    this.#route = routeText(replica);
    this.id = asReplicaId(detachString(replica.id));
    this.endpoint = asEndpoint(endpointIn(head, replica.endpoint, entry));
    this.capabilities = capabilitiesIn(entry, head.length, replica.capabilities);
  }

  static getEntry(replica: Replica): string {
    return #entry in replica ? replica.#entry : entryText(replica).entry;
  }

  static getRouteResponse(replica: Replica): string {
    return #route in replica ? replica.#route : routeText(replica);
  }
}

/** A replica as it registers itself and as the list shows it. */
export function serializeReplica(replica: Replica): string {
  return SerializedReplica.getEntry(replica);
}

/** The body of `GET /route`: its bytes, each as one character, which is how Node writes it fastest. */
export function serializeRouteResponse(replica: Replica): string {
  return SerializedReplica.getRouteResponse(replica);
}

/** The entry of the list, and the part of it before the first capability object. */
function entryText({ id, endpoint, capabilities }: Replica): { readonly head: string; readonly entry: string } {
  const head = `{"replica_id":${JSON.stringify(id)},"endpoint":${JSON.stringify(endpoint)},"capabilities":[`;
  const sources = capabilities.map(({ source }) => source).join(',');
  // Joined, it is one text; put together in any other way it is a tree of texts, gone through again for every list.
  return { head, entry: [head, sources, ']}'].join('') };
}

function routeText({ endpoint, id }: Replica): string {
  const text = `{"endpoint":${JSON.stringify(endpoint)},"replica_id":${JSON.stringify(id)}}`;
  return Buffer.from(text).toString('latin1');
}

/** The endpoint as a part of the entry, unless JSON writes some of its characters in another way. */
function endpointIn(head: string, endpoint: string, entry: string): string {
  const end = head.length - '","capabilities":['.length;
  const part = entry.slice(end - endpoint.length, end);
  return part === endpoint ? part : endpoint;
}

/** The capabilities with their sources as parts of the entry, in which they follow each other from `at` on. */
function capabilitiesIn(entry: string, at: number, capabilities: readonly Capability[]): Capability[] {
  let from = at;
  return capabilities.map(({ pairs, source }) => {
    const part = entry.slice(from, from + source.length);
    from += source.length + 1;
    return { pairs, source: part };
  });
}
