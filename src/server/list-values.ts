import type { Capability } from '../core/capability.js';
import type { Log } from '../core/ports.js';
import type { Replica } from '../core/replica.js';
import { isJsonObject, parseJson } from '../wire/json.js';

/** Longest part of a capability object that is shown in the log, in characters. */
const MAX_SHOWN = 120;

/** Warns of a capability object with a list as a value: a query has one value for a key, and never matches a list. */
export function warnOfLists({ id, capabilities }: Pick<Replica, 'id' | 'capabilities'>, log: Log): void {
  const source = capabilities.find(hasList)?.source;
  if (source === undefined) return;
  const shown = source.length > MAX_SHOWN ? `${source.slice(0, MAX_SHOWN)}...` : source;
  const advice = 'a list as a value never matches a query; register one capability object for each of its values';
  log.warn(`${JSON.stringify(id)} offers ${shown}: ${advice}`);
}

function hasList({ source }: Capability): boolean {
  // Few objects have this, so hardly any is parsed.
  if (!source.includes(':[')) return false;
  const object = parseJson(source);
  return isJsonObject(object) && [...object.values()].some(Array.isArray);
}
