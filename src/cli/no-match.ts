import type { ListedReplica } from '../api/replica-list-json.js';
import type { ApiClient } from '../client/api-client.js';
import { sleep } from '../client/async-waits.js';
import { WARMING_RETRY_MS } from '../client/discovery.js';
import { type CapabilityQuery, formatQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { explainQuery } from '../core/explainer.js';
import { type Reason, summarizeExplanation } from '../core/explanation-text.js';
import { clock } from '../system.js';

/**
 * Creates the error for queries that no replica matches. Its message has the best reason that the list of replicas gives,
 * else the number of replicas. `listed` is undefined when the list isn't available.
 */
export function explainNoMatch(
  queries: readonly CapabilityQuery[],
  listed: readonly ListedReplica[] | undefined,
): AnyserveError {
  const queryText = queries.map(formatQuery).join(' or ');
  const [reason] = queries.flatMap((query) => findReason(query, listed ?? []) ?? []).sort((a, b) => a.rank - b.rank);
  if (reason?.rank === 0) return new AnyserveError('no_match', `no ready replica offers ${queryText}; ${reason.text}`);
  const rest = reason ? `; ${reason.text}` : formatReplicaCount(listed?.length);
  return new AnyserveError('no_match', `no replica offers ${queryText}${rest}`);
}

function findReason(query: CapabilityQuery, listed: readonly ListedReplica[]): Reason | undefined {
  const replicas = listed.map(({ replica, state, stateAgeMs, cordon }) => ({ ...replica, state, stateAgeMs, cordon }));
  return summarizeExplanation(explainQuery(query, replicas));
}

/** Limits for retries while the API server is warming up. */
export interface WarmingRetryOptions {
  readonly giveUpAtMs: number;
  readonly signal: AbortSignal;
}

/**
 * Waits before a retry when the API server has just started and replicas are still registering again. Resolves to whether
 * a retry makes sense.
 */
export async function waitIfWarming(
  [query = []]: readonly CapabilityQuery[],
  api: ApiClient,
  { giveUpAtMs, signal }: WarmingRetryOptions,
): Promise<boolean> {
  if (clock.nowMs() + WARMING_RETRY_MS > giveUpAtMs) return false;
  const response = await api.route(query, [], { signal });
  if (response.kind === 'found') return true;
  if (response.isWarming) await sleep(clock, WARMING_RETRY_MS, signal);
  signal.throwIfAborted();
  return response.isWarming;
}

/** Fetches all replicas with their states. Resolves to undefined when the request fails. */
export async function fetchReplicas(api: ApiClient, signal: AbortSignal): Promise<ListedReplica[] | undefined> {
  try {
    const { replicas } = await api.listReplicas({ signal });
    return replicas.map(({ listed }) => listed);
  } catch {
    return undefined;
  }
}

function formatReplicaCount(count: number | undefined): string {
  if (count === undefined) return '';
  if (count === 0) return '; no replica is registered';
  if (count === 1) return '; 1 replica is registered, show it with "anyserve registry"';
  return `; ${count} replicas are registered, list them with "anyserve registry"`;
}
