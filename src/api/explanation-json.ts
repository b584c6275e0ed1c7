import type { CapabilityQuery } from '../core/capability.js';
import { listPairs } from '../core/capability.js';
import type { Pair } from '../core/closest-pair.js';
import type { Explanation, ProtocolMatches, SelectorMiss } from '../core/explanation.js';
import { describeExplanation } from '../core/explanation-text.js';
import type { Match, MatchTally } from '../core/match-tally.js';
import { isProtocol, type Protocol } from '../core/protocol.js';
import { truncateText } from '../core/quoting.js';
import { isPlainObject, type PlainJson, type PlainObject, parsePlainJson } from '../json/plain-json.js';
import { toCordon } from './cordon-json.js';

/** Path of the explanations. */
export const EXPLAIN_PATH = '/explain';

/** Maximum length of a text that can quote a whole query, in UTF-16 units. */
const MAX_TEXT = 4096;

/** Maximum length of the value that a near miss has, in UTF-16 units. It can be 1 MiB. */
const MAX_OFFERED = 1024;

/**
 * Serializes the response body of `GET /explain`: sentences for people, and the findings for programs. Members without a finding
 * are absent.
 */
export function serializeExplanation(explanation: Explanation): string {
  const { query, replicaCount, examinedCount, isTruncated, isWarming, candidates, others } = explanation;
  const { selector, protocol, otherProtocol, splitReplicaId, offeredBy, closest, nearMiss, selectorMiss, list } =
    explanation;
  const { message, details } = describeExplanation(explanation);
  return JSON.stringify({
    message: truncateText(message, MAX_TEXT),
    details: details.map((detail) => truncateText(detail, MAX_TEXT)),
    replicas: replicaCount,
    examined: examinedCount,
    truncated: isTruncated,
    warming: isWarming,
    candidates: toTallyJson(candidates),
    others: toTallyJson(others),
    selector: selector === '' ? undefined : selector,
    protocol,
    other_protocol: otherProtocol && { protocol: otherProtocol.protocol, ...toTallyJson(otherProtocol) },
    pairs: listPairs(query).map(([key, value], index) => {
      const similar = closest[index];
      return { key, value, offered_by: offeredBy[index], closest: similar && { key: similar[0], value: similar[1] } };
    }),
    list: list && { replica_id: list.id, ...toPairJson(list.requested) },
    split: splitReplicaId === undefined ? undefined : { replica_id: splitReplicaId },
    near_miss: nearMiss && {
      replica_id: nearMiss.id,
      ...toPairJson(nearMiss.requested),
      offered: truncateText(nearMiss.offered, MAX_OFFERED),
    },
    selector_miss: selectorMiss && {
      replica_id: selectorMiss.id,
      term: selectorMiss.term,
      key: selectorMiss.key,
      offered: selectorMiss.offered && truncateText(selectorMiss.offered, MAX_OFFERED),
    },
  });
}

function toTallyJson({ count, first }: MatchTally) {
  return { count, replicas: first.map(toMatchJson) };
}

function toMatchJson({ id, state, stateAgeMs, cordon }: Match) {
  return {
    replica_id: id,
    state,
    state_age_ms: stateAgeMs === undefined ? undefined : Math.round(stateAgeMs),
    cordon: cordon && { cordoned: cordon.cordoned, reason: cordon.reason, at: cordon.atMs },
  };
}

function toPairJson([key, value]: Pair) {
  return { key, value };
}

/** Parses the response body of `GET /explain` for this query. Returns undefined for any other string. */
export function parseExplanation(text: string, query: CapabilityQuery): Explanation | undefined {
  const body = parsePlainJson(text);
  if (!isPlainObject(body)) return undefined;
  const { replicas: replicaCount, examined, truncated, warming, near_miss: nearMiss } = body;
  const [candidates, others] = [toTally(body['candidates']), toTally(body['others'])];
  if (typeof replicaCount !== 'number' || typeof examined !== 'number' || !candidates || !others) return undefined;
  const pairs = toObjects(body['pairs']);
  const rows = listPairs(query).map(([key]) => pairs.find((pair) => pair['key'] === key));
  const list = toOwnedPair(body['list']);
  const near = toOwnedPair(nearMiss);
  const offered = getString(nearMiss, 'offered');
  return {
    query,
    selector: getString(body, 'selector') ?? '',
    protocol: toProtocol(body),
    replicaCount,
    examinedCount: examined,
    isTruncated: truncated === true,
    isWarming: warming === true,
    candidates,
    others,
    otherProtocol: toProtocolMatches(body['other_protocol']),
    splitReplicaId: getString(body['split'], 'replica_id'),
    offeredBy: rows.map((row) => getString(row, 'offered_by')),
    closest: rows.map((row) => toPair(row?.['closest'])),
    nearMiss: near && offered !== undefined ? { ...near, offered } : undefined,
    selectorMiss: toSelectorMiss(body['selector_miss']),
    list,
  };
}

function toSelectorMiss(value: PlainJson | undefined): SelectorMiss | undefined {
  const [id, term, key] = [getString(value, 'replica_id'), getString(value, 'term'), getString(value, 'key')];
  if (id === undefined || term === undefined || key === undefined) return undefined;
  return { id, term, key, offered: getString(value, 'offered') };
}

function toTally(value: PlainJson | undefined): MatchTally | undefined {
  if (!isPlainObject(value) || typeof value['count'] !== 'number') return undefined;
  return { count: value['count'], first: toObjects(value['replicas']).flatMap((row) => toMatch(row) ?? []) };
}

function toProtocol(value: PlainJson | undefined): Protocol | undefined {
  const name = getString(value, 'protocol');
  return name !== undefined && isProtocol(name) ? name : undefined;
}

function toProtocolMatches(value: PlainJson | undefined): ProtocolMatches | undefined {
  const [protocol, tally] = [toProtocol(value), toTally(value)];
  return protocol && tally && { protocol, ...tally };
}

function toMatch(row: PlainObject): Match | undefined {
  const id = getString(row, 'replica_id');
  const age = row['state_age_ms'];
  if (id === undefined) return undefined;
  return {
    id,
    state: getString(row, 'state'),
    stateAgeMs: typeof age === 'number' ? age : undefined,
    cordon: toCordon(row['cordon']),
  };
}

/** Reads a pair that belongs to a replica. */
function toOwnedPair(value: PlainJson | undefined): { readonly id: string; readonly requested: Pair } | undefined {
  const [id, requested] = [getString(value, 'replica_id'), toPair(value)];
  return id === undefined || !requested ? undefined : { id, requested };
}

function toPair(value: PlainJson | undefined): Pair | undefined {
  const [key, text] = [getString(value, 'key'), getString(value, 'value')];
  return key === undefined || text === undefined ? undefined : [key, text];
}

function toObjects(value: PlainJson | undefined): PlainObject[] {
  return Array.isArray(value) ? value.filter(isPlainObject) : [];
}

function getString(value: PlainJson | undefined, name: string): string | undefined {
  const member = isPlainObject(value) ? value[name] : undefined;
  return typeof member === 'string' ? member : undefined;
}
