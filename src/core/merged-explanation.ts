import { listPairs } from './capability.js';
import { type Pair, QueryPair } from './closest-pair.js';
import type { Explanation, ProtocolMatches } from './explanation.js';
import type { MatchTally } from './match-tally.js';

/**
 * Merges the explanations of one query by several API servers. Servers can list the same replicas, and an explanation names only
 * the first few, so the counts are lower bounds. They are exact if every replica registers with every server.
 */
export function mergeExplanations(explanations: readonly [Explanation, ...Explanation[]]): Explanation {
  const [first] = explanations;
  if (explanations.length === 1) return first;
  const candidates = mergeTallies(explanations.map((one) => one.candidates));
  const candidateIds = new Set(candidates.first.map(({ id }) => id));
  const others = mergeTallies(explanations.map((one) => dropMatches(one.others, candidateIds)));
  const offeredBy = first.offeredBy.map((_, at) => findFirst(explanations, (one) => one.offeredBy[at]));
  return {
    query: first.query,
    selector: first.selector,
    protocol: first.protocol,
    replicaCount: Math.max(...explanations.map(({ replicaCount }) => replicaCount)),
    examinedCount: Math.max(...explanations.map(({ examinedCount }) => examinedCount)),
    isTruncated: explanations.some(({ isTruncated }) => isTruncated),
    isWarming: explanations.every(({ isWarming }) => isWarming),
    candidates,
    others,
    otherProtocol: mergeOtherProtocol(explanations, candidateIds),
    splitReplicaId: findFirst(explanations, (one) => one.splitReplicaId),
    offeredBy,
    closest: listPairs(first.query).map((pair, at) =>
      offeredBy[at] === undefined
        ? chooseClosest(
            pair,
            explanations.map((one) => one.closest[at]),
          )
        : undefined,
    ),
    nearMiss: findFirst(explanations, (one) => one.nearMiss),
    selectorMiss: findFirst(explanations, (one) => one.selectorMiss),
    list: findFirst(explanations, (one) => one.list),
  };
}

function findFirst<T>(
  explanations: readonly Explanation[],
  find: (explanation: Explanation) => T | undefined,
): T | undefined {
  for (const explanation of explanations) {
    const found = find(explanation);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The protocol is the same in all explanations: only URLs are left out when no protocol is asked for. */
function mergeOtherProtocol(
  explanations: readonly Explanation[],
  candidateIds: ReadonlySet<string>,
): ProtocolMatches | undefined {
  const found = explanations.flatMap(({ otherProtocol }) => otherProtocol ?? []);
  const tally = mergeTallies(found.map((one) => dropMatches(one, candidateIds)));
  return found[0] && tally.count > 0 ? { protocol: found[0].protocol, ...tally } : undefined;
}

function mergeTallies(tallies: readonly MatchTally[]): MatchTally {
  const byId = new Map(tallies.flatMap(({ first }) => first).map((match) => [match.id, match]));
  return { count: Math.max(byId.size, ...tallies.map(({ count }) => count)), first: [...byId.values()] };
}

function dropMatches({ count, first }: MatchTally, ids: ReadonlySet<string>): MatchTally {
  const kept = first.filter(({ id }) => !ids.has(id));
  return { count: count - (first.length - kept.length), first: kept };
}

/** Returns the pair that is the most similar to a pair of the query. */
function chooseClosest([key, value]: Pair, pairs: readonly (Pair | undefined)[]): Pair | undefined {
  const requested = new QueryPair(key, value);
  for (const pair of pairs) if (pair) requested.compare(...pair);
  return requested.closest;
}
