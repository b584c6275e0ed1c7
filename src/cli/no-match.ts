import type { ListedReplica } from '../api/replica-list-json.js';
import type { ApiClient } from '../client/api-client.js';
import { sleep } from '../client/async-waits.js';
import { WARMING_RETRY_MS } from '../client/call-attempts.js';
import { describeQuery } from '../client/discovery.js';
import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { Explainer } from '../core/explanation.js';
import { type Reason, summarizeExplanation } from '../core/explanation-text.js';
import { clock } from '../system.js';

/**
 * The failure of queries none of which a replica matches: the best reason that the list of replicas shows, else how many
 * there are. Without the list, because it cannot be had, it is the failure alone.
 */
export function explainNoMatch(
  queries: readonly CapabilityQuery[],
  listed: readonly ListedReplica[] | undefined,
): AnyserveError {
  const asked = queries.map(describeQuery).join(' or ');
  const [reason] = queries.flatMap((query) => reasonAmong(query, listed ?? []) ?? []).sort((a, b) => a.rank - b.rank);
  if (reason?.rank === 0) return new AnyserveError('no_match', `no ready replica offers ${asked}; ${reason.text}`);
  const rest = reason ? `; ${reason.text}` : advice(listed?.length);
  return new AnyserveError('no_match', `no replica offers ${asked}${rest}`);
}

function reasonAmong(query: CapabilityQuery, listed: readonly ListedReplica[]): Reason | undefined {
  const explainer = new Explainer(query);
  for (const { replica, state, stateAgeMs } of listed) explainer.add({ ...replica, state, forMs: stateAgeMs });
  return summarizeExplanation(explainer.getExplanation());
}

/** Until when a miss is worth another try. */
export interface WarmingRetryOptions {
  readonly giveUpAtMs: number;
  readonly signal: AbortSignal;
}

/**
 * Whether a miss may pass, because the API server has just started and replicas are on their way back to it; then
 * resolves after a pause, when it is time for another try.
 */
export async function waitIfWarming(
  [query = []]: readonly CapabilityQuery[],
  api: ApiClient,
  { giveUpAtMs, signal }: WarmingRetryOptions,
): Promise<boolean> {
  if (clock.nowMs() + WARMING_RETRY_MS > giveUpAtMs) return false;
  const answer = await api.route(query, [], { signal });
  if (answer.kind === 'found') return true;
  if (answer.isWarming) await sleep(clock, WARMING_RETRY_MS, signal);
  signal.throwIfAborted();
  return answer.isWarming;
}

/** All replicas with their states; undefined when they cannot be asked for. */
export async function fetchReplicas(api: ApiClient, signal: AbortSignal): Promise<ListedReplica[] | undefined> {
  try {
    return await api.list({ signal });
  } catch {
    return undefined;
  }
}

function advice(registered: number | undefined): string {
  if (registered === undefined) return '';
  if (registered === 0) return '; none is registered';
  if (registered === 1) return '; 1 is registered, see it with "anyserve registry"';
  return `; ${registered} are registered, list them with "anyserve registry"`;
}
