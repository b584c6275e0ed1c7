import type { Capability } from '../core/capability.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import { isJsonObject, parseJson } from '../json/exact-json.js';

/** Maximum length of a capability object in an event, in UTF-16 units. */
const MAX_SHOWN = 120;

/** Reports a capability object with a list as a value: a query has one value per key, and never matches a list. */
export function reportListValues(
  { id, capabilities }: Pick<Replica, 'id' | 'capabilities'>,
  events: Events<ServerEvent>,
): void {
  const source = capabilities.find(hasList)?.source;
  if (source === undefined) return;
  const shown = source.length > MAX_SHOWN ? `${source.slice(0, MAX_SHOWN)}...` : source;
  events.emit({ kind: 'list_value_offered', replicaId: id, capability: shown });
}

function hasList({ source }: Capability): boolean {
  // Few objects have this, so hardly any is parsed.
  if (!source.includes(':[')) return false;
  const object = parseJson(source);
  return isJsonObject(object) && [...object.values()].some(Array.isArray);
}
