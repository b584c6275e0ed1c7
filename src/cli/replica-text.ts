import type { ListedReplica } from '../api/replica-list-json.js';
import type { Capability } from '../core/capability.js';
import { formatScalar } from '../json/capability-json.js';
import { parseJson, SERVER_JSON_LIMITS } from '../json/exact-json.js';
import { isJsonObject, serializeJson } from '../json/json-value.js';

/** Formats the state of a replica: `ready`, or `ready,cordoned`. */
export function formatState({ state = '-', cordon }: ListedReplica): string {
  return cordon?.cordoned ? `${state},cordoned` : state;
}

/**
 * Formats capabilities, each as `--cap` accepts it, such as `model=llama,type=chat`. Values other than scalars are JSON.
 */
export function formatCapabilities(capabilities: readonly Capability[]): string {
  return capabilities.map(formatCapability).join('; ');
}

function formatCapability({ source }: Capability): string {
  const object = parseJson(source, SERVER_JSON_LIMITS);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${formatScalar(value) ?? serializeJson(value)}`).join(',');
}
