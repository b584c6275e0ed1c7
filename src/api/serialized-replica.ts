import type { Capability } from '../core/capability.js';
import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { detachString } from '../json/string-memory.js';
import { createListEntry } from './replica-json.js';

/**
 * A replica with its JSON serializations, which are made once at registration rather than for every response. The API
 * server's registry contains only such replicas. The serialized strings are private fields, so that nothing else passes for
 * one.
 *
 * The endpoint and the capability sources are substrings of the list entry. That takes less memory than copies, and keeps no
 * reference to the request body. The id is a copy, because it outlives the replica: lists use it as a key for the place that
 * a later registration of the same id gets.
 */
export class SerializedReplica implements Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
  readonly #listEntry: string;
  readonly #routeResponse: string;

  constructor(replica: Replica) {
    const { head, entry } = createListEntry(replica);
    this.#listEntry = entry;
    this.#routeResponse = createRouteResponse(replica);
    this.id = asReplicaId(detachString(replica.id));
    this.endpoint = asEndpoint(findEndpoint(head, replica.endpoint, entry));
    this.capabilities = findCapabilities(entry, head.length, replica.capabilities);
  }

  /** The entry of the replica in the response bodies of `GET /registry` and `GET /replicas`. */
  get listEntry(): string {
    return this.#listEntry;
  }

  /** The response body of `GET /route` as UTF-8, one character per byte (latin1), which Node writes fastest. */
  get routeResponse(): string {
    return this.#routeResponse;
  }
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
