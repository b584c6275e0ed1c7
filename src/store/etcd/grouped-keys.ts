import type { ReplicaId } from '../../core/ids.js';
import type { EtcdKeys } from './etcd-keys.js';
import { type Event, Event_EventType, type KeyValue } from './gen/etcd.js';

/** The keys of a registry, by kind. */
export interface GroupedKeys {
  readonly records: Map<ReplicaId, KeyValue>;
  /** The markers of the API servers, by the ids of the servers. */
  readonly markers: Map<string, KeyValue>;
  registry: KeyValue | undefined;
}

/** A change of a key. `kv` of a removed key has only the revision. */
export interface KeyChange<Id> {
  readonly id: Id;
  readonly kv: KeyValue;
  readonly isRemoval: boolean;
}

/** The changes of complete revisions, by kind. */
export interface GroupedKeyChanges {
  readonly records: readonly KeyChange<ReplicaId>[];
  readonly markers: readonly KeyChange<string>[];
  /** The last value of the registry's key, if it was written. */
  readonly registry: KeyValue | undefined;
}

/** Creates groups without keys. */
export function createGroupedKeys(): GroupedKeys {
  return { records: new Map(), markers: new Map(), registry: undefined };
}

/** Adds keys to their groups. Ignores keys that this version doesn't know. `onRecord` is called for each record. */
export function groupKeys(
  kvs: readonly KeyValue[],
  keys: EtcdKeys,
  groups: GroupedKeys,
  onRecord: (id: ReplicaId, kv: KeyValue) => void,
): void {
  for (const kv of kvs) {
    const key = keys.parse(kv.key);
    if (key?.kind === 'replica') {
      groups.records.set(key.id, kv);
      onRecord(key.id, kv);
    } else if (key?.kind === 'server') groups.markers.set(key.id, kv);
    else if (key) groups.registry = kv;
  }
}

/** Groups changes by kind, each in the order of the revisions. Ignores keys that this version doesn't know. */
export function groupKeyChanges(events: readonly Event[], keys: EtcdKeys): GroupedKeyChanges {
  const records: KeyChange<ReplicaId>[] = [];
  const markers: KeyChange<string>[] = [];
  let registry: KeyValue | undefined;
  for (const { type, kv } of events) {
    const key = kv && keys.parse(kv.key);
    if (!key) continue;
    const isRemoval = type === Event_EventType.DELETE;
    if (key.kind === 'replica') records.push({ id: key.id, kv, isRemoval });
    else if (key.kind === 'server') markers.push({ id: key.id, kv, isRemoval });
    else if (!isRemoval) registry = kv;
  }
  return { records, markers, registry };
}
