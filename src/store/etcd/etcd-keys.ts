import { asReplicaId, type ReplicaId } from '../../core/ids.js';

/** A key of the registry in etcd, parsed. `server` is the marker of an API server. */
export type ParsedKey =
  | { readonly kind: 'replica'; readonly id: ReplicaId }
  | { readonly kind: 'server'; readonly id: string }
  | { readonly kind: 'registry' };

const REPLICAS = 'replicas/';
const SERVERS = 'servers/';
const REGISTRY = 'registry';
const QUOTA_PROBE = 'quota-probe';

const decoder = new TextDecoder();

/** The keys below a prefix: one for each replica and for each API server, and one with the id of the registry. */
export class EtcdKeys {
  readonly #prefix: string;

  /** Creates the keys of a registry. The prefix has no slash at the end. */
  constructor(prefix: string) {
    this.#prefix = `${prefix}/`;
  }

  /** All keys, as a range of etcd: the end is the prefix with its last byte increased by one. */
  get range(): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
    return { key: Buffer.from(this.#prefix), rangeEnd: Buffer.from(`${this.#prefix.slice(0, -1)}0`) };
  }

  get registry(): Uint8Array {
    return this.#encode(REGISTRY);
  }

  /** A key without a meaning, for the writes that show whether etcd is full. */
  get quotaProbe(): Uint8Array {
    return this.#encode(QUOTA_PROBE);
  }

  /** Returns the key of a replica. */
  forReplica(id: ReplicaId): Uint8Array {
    return this.#encode(REPLICAS + id);
  }

  /** Returns the key of the marker of an API server. */
  forServer(id: string): Uint8Array {
    return this.#encode(SERVERS + id);
  }

  /** Parses a key. Returns undefined for one that this version doesn't know. */
  parse(key: Uint8Array): ParsedKey | undefined {
    const name = decoder.decode(key).slice(this.#prefix.length);
    if (name.startsWith(REPLICAS)) return { kind: 'replica', id: asReplicaId(name.slice(REPLICAS.length)) };
    if (name.startsWith(SERVERS)) return { kind: 'server', id: name.slice(SERVERS.length) };
    return name === REGISTRY ? { kind: 'registry' } : undefined;
  }

  #encode(name: string): Uint8Array {
    return Buffer.from(this.#prefix + name);
  }
}
