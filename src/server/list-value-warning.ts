import type { Capability } from '../core/capability.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import { parseJson } from '../json/exact-json.js';
import { isJsonObject } from '../json/json-value.js';

/** Maximum length of a capability object in an event, in UTF-16 units. */
const MAX_SOURCE_LENGTH = 120;

/** Emits an event for a capability object that has a list as a value. A query has one value per key, so it never matches a list. */
export function reportListValues(
  { id, capabilities }: Pick<Replica, 'id' | 'capabilities'>,
  events: Events<ServerEvent>,
): void {
  const source = capabilities.find(hasList)?.source;
  if (source === undefined) return;
  const capability = source.length > MAX_SOURCE_LENGTH ? `${source.slice(0, MAX_SOURCE_LENGTH)}...` : source;
  events.emit({ kind: 'list_value_offered', replicaId: id, capability });
}

function hasList({ source }: Capability): boolean {
  // Cheap test first: few objects contain this, so hardly any is parsed.
  if (!source.includes(':[')) return false;
  const object = parseJson(source);
  return isJsonObject(object) && [...object.values()].some(Array.isArray);
}
