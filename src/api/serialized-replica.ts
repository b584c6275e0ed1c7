import type { Capability } from '../core/capability.js';
import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { detachString } from '../json/string-memory.js';

/**
 * A replica with its JSON serializations, which are made once at registration rather than for every response. They are
 * private fields and not a WeakMap, because a WeakMap with 100,000 entries makes every minor garbage collection take 10
 * ms.
 *
 * The endpoint and the capability sources are substrings of the list entry. That takes less memory than copies, and
 * keeps no reference to the request body. The id is a copy, because it outlives the replica: lists use it as a key for
 * the place that a later registration of the same id gets.
 */
export class SerializedReplica implements Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
  readonly #entry: string;
  readonly #routeResponse: string;

  constructor(replica: Replica) {
    const { head, entry } = createEntry(replica);
    this.#entry = entry;
    this.#routeResponse = createRouteResponse(replica);
    this.id = asReplicaId(detachString(replica.id));
    this.endpoint = asEndpoint(findEndpoint(head, replica.endpoint, entry));
    this.capabilities = findCapabilities(entry, head.length, replica.capabilities);
  }

  /** Returns the list entry of any replica, from the cache if it has one. */
  static getEntry(replica: Replica): string {
    return #entry in replica ? replica.#entry : createEntry(replica).entry;
  }

  /** Returns the `GET /route` response of any replica, from the cache if it has one. */
  static getRouteResponse(replica: Replica): string {
    return #routeResponse in replica ? replica.#routeResponse : createRouteResponse(replica);
  }
}

/** Serializes a replica as it registers itself and as lists show it. */
export function serializeReplica(replica: Replica): string {
  return SerializedReplica.getEntry(replica);
}

/**
 * Serializes the response body of `GET /route` as UTF-8, one character per byte (latin1), which Node writes fastest.
 */
export function serializeRouteResponse(replica: Replica): string {
  return SerializedReplica.getRouteResponse(replica);
}

/** Creates the list entry of a replica. `head` is the part before the first capability object. */
function createEntry({ id, endpoint, capabilities }: Replica): { readonly head: string; readonly entry: string } {
  const head = `{"replica_id":${JSON.stringify(id)},"endpoint":${JSON.stringify(endpoint)},"capabilities":[`;
  const sources = capabilities.map(({ source }) => source).join(',');
  // join() makes a flat string. Concatenation would make a tree of strings, which every list would have to traverse.
  return { head, entry: [head, sources, ']}'].join('') };
}

function createRouteResponse({ endpoint, id }: Replica): string {
  const text = `{"endpoint":${JSON.stringify(endpoint)},"replica_id":${JSON.stringify(id)}}`;
  return Buffer.from(text).toString('latin1');
}

/** Returns the endpoint as a substring of the entry, or the endpoint itself if JSON escapes some of its characters. */
function findEndpoint(head: string, endpoint: string, entry: string): string {
  const end = head.length - '","capabilities":['.length;
  const part = entry.slice(end - endpoint.length, end);
  return part === endpoint ? part : endpoint;
}

/** Returns the capabilities with their sources as substrings of the entry, where the first one starts at `start`. */
function findCapabilities(entry: string, start: number, capabilities: readonly Capability[]): Capability[] {
  let from = start;
  return capabilities.map(({ pairs, source }) => {
    const part = entry.slice(from, from + source.length);
    from += source.length + 1;
    return { pairs, source: part };
  });
}
