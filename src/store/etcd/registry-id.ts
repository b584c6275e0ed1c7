import { asRegistryId, type RegistryId } from '../../core/ids.js';
import { parseJsonObject } from '../../json/exact-json.js';
import { NEVER, readOutcome, toOperation } from './conditional-write.js';
import type { EtcdApi } from './etcd-api.js';

/** The format of the value. */
const FORMAT = '1.0';

/** Reads the id of the registry from its key. Returns undefined if there is none. */
export function parseRegistryId(value: Uint8Array | undefined): RegistryId | undefined {
  const id = value && parseJsonObject(Buffer.from(value).toString())?.get('id');
  return typeof id === 'string' && /^[\w.-]{1,64}$/.test(id) ? asRegistryId(id) : undefined;
}

/** Writes the id of the registry, unless another server was first. Resolves to the id that etcd has. */
export async function claimRegistryId(api: Pick<EtcdApi, 'txn'>, key: Uint8Array, id: RegistryId): Promise<RegistryId> {
  const value = Buffer.from(JSON.stringify({ format: FORMAT, id }));
  // Without a lease: the id outlives all servers.
  const write = toOperation({ kind: 'put', key, value, lease: 0n, known: NEVER });
  const outcome = readOutcome((await api.txn({ compare: [], success: [write], failure: [] })).responses[0]);
  return outcome.kind === 'written' ? id : (parseRegistryId(outcome.present?.value) ?? id);
}
