import { toExplainedReplica } from '../api/replica-list-json.js';
import type { ApiClient } from '../client/api-client.js';
import { sleep } from '../client/async-waits.js';
import { OTHER_PROTOCOL_ADVICE, WARMING_RETRY_MS } from '../client/discovery.js';
import type { MergedReplica } from '../client/merged-list.js';
import type { RouteSelection } from '../client/route-selection.js';
import { type CapabilityQuery, formatQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { explainQuery } from '../core/explainer.js';
import type { Explanation } from '../core/explanation.js';
import { summarizeExplanation } from '../core/explanation-text.js';
import { getOtherProtocol, PROTOCOL_NAMES } from '../core/protocol.js';
import { quote } from '../core/quoting.js';
import type { Selector } from '../core/selector.js';
import { clock } from '../system.js';

/**
 * Creates the error for queries that no replica matches. Its message has the best reason of the explanations, one for each query,
 * else the number of replicas. `explanations` is undefined when they aren't available.
 */
export function createNoMatchFailure(
  queries: readonly CapabilityQuery[],
  explanations: readonly Explanation[] | undefined,
): AnyserveError {
  const queryText = queries.map(formatQuery).join(' or ');
  const reasons = (explanations ?? []).flatMap((explanation) => summarizeExplanation(explanation) ?? []);
  const [reason] = reasons.sort((a, b) => a.rank - b.rank);
  if (reason?.rank === 0) return new AnyserveError('no_match', `no ready replica offers ${queryText}; ${reason.text}`);
  if (reason?.otherProtocol) {
    const name = PROTOCOL_NAMES[getOtherProtocol(reason.otherProtocol)];
    const rest = `${reason.text}: ${OTHER_PROTOCOL_ADVICE[reason.otherProtocol]}`;
    return new AnyserveError('no_match', `no ${name} replica offers ${queryText}; ${rest}`);
  }
  const rest = reason ? `; ${reason.text}` : formatReplicaCount(explanations?.[0]?.replicaCount);
  return new AnyserveError('no_match', `no replica offers ${queryText}${rest}`);
}

/** Creates the error for queries that replicas match, but none of these matches the selector. The explanation says why. */
function createSelectorMismatch(
  queries: readonly CapabilityQuery[],
  { text }: Selector,
  explanation: Explanation,
): AnyserveError {
  const queryText = queries.map(formatQuery).join(' or ');
  const reason = summarizeExplanation(explanation);
  const hint = reason ? `; ${reason.text}` : '';
  return new AnyserveError(
    'no_match',
    `no replica that offers ${queryText} matches the selector ${quote(text)}${hint}`,
  );
}

/** Creates the error for a list of replicas of which none matches. */
export function createListMismatch(
  query: CapabilityQuery,
  selector: Selector,
  replicas: readonly MergedReplica[],
): AnyserveError {
  const explained = replicas.map(({ listed }) => toExplainedReplica(listed));
  const explanation = explainQuery(query, explained, { selector });
  if (explanation.selectorMiss) return createSelectorMismatch([query], selector, explanation);
  return createNoMatchFailure([query], [explanation]);
}

/** Creates the error of a query without a match, with the explanations of the API servers if they respond. */
export async function explainNoMatch(
  queries: readonly CapabilityQuery[],
  api: ApiClient,
  signal: AbortSignal,
  { selector, protocol }: Pick<RouteSelection, 'selector' | 'protocol'>,
): Promise<AnyserveError> {
  const explanations = await api.explanations.explain(queries, { signal, protocol, selector }).catch(() => undefined);
  signal.throwIfAborted();
  const missed = explanations?.find(({ selectorMiss }) => selectorMiss !== undefined);
  if (missed) return createSelectorMismatch(queries, selector, missed);
  return createNoMatchFailure(queries, explanations);
}

/** Limits for retries while the API server is warming up. */
export interface WarmingRetryOptions {
  readonly giveUpAtMs: number;
  readonly signal: AbortSignal;
  readonly selection?: RouteSelection | undefined;
}

/**
 * Waits before a retry when the API server has just started and replicas are still registering again. Resolves to whether
 * a retry makes sense.
 */
export async function waitIfWarming(
  [query = []]: readonly CapabilityQuery[],
  api: ApiClient,
  { giveUpAtMs, signal, selection }: WarmingRetryOptions,
): Promise<boolean> {
  if (clock.nowMs() + WARMING_RETRY_MS > giveUpAtMs) return false;
  const response = await api.route(query, [], { signal, selection });
  if (response.kind === 'found') return true;
  if (response.isWarming) await sleep(clock, WARMING_RETRY_MS, signal);
  signal.throwIfAborted();
  return response.isWarming;
}

function formatReplicaCount(count: number | undefined): string {
  if (count === undefined) return '';
  if (count === 0) return '; no replica is registered';
  if (count === 1) return '; 1 replica is registered, show it with "anyserve registry"';
  return `; ${count} replicas are registered, list them with "anyserve registry"`;
}
