import { formatQuery } from './capability.js';
import type { Pair } from './closest-pair.js';
import { formatAge } from './durations.js';
import type { Explanation, ProtocolMatches, SelectorMiss } from './explanation.js';
import { concatTallies, type Match, type MatchTally } from './match-tally.js';
import { PROTOCOL_NAMES, type Protocol } from './protocol.js';

/** Maximum length of an untrusted text in a sentence, in UTF-16 units. */
const MAX_SHOWN = 64;

/** Maximum number of replicas that a sentence names. */
const MAX_NAMED = 3;

/** A reason why no replica matches, as one clause for people. */
export interface Reason {
  /** Order of the reasons by the probability that the user needs them: 0 is the most probable. */
  readonly rank: number;
  readonly text: string;
  /** The protocol of the matches, if it is another one than was asked for. */
  readonly otherProtocol?: Protocol;
}

/** Returns the most certain reason why no replica was found; undefined if no offered capability resembles the query. */
export function summarizeExplanation(explanation: Explanation): Reason | undefined {
  const { others, candidates, otherProtocol, query } = explanation;
  const matches = concatTallies(others, candidates);
  if (matches.count > 0) return { rank: 0, text: describeFoundLater(matches) };
  if (otherProtocol) {
    return { rank: 1, text: describeOtherProtocol(otherProtocol), otherProtocol: otherProtocol.protocol };
  }
  // Every replica differs from a query of one pair in one value, so such a near miss says nothing.
  return listReasons(explanation).find(({ rank }) => rank < NEAR_MISS_RANK || query.length > 2);
}

/** An explanation for people: whether a replica offers the query's pairs, and sentences about what else was found. */
export interface ExplanationText {
  readonly message: string;
  readonly details: readonly string[];
}

/** Describes an explanation: which replicas match, or why none does. */
export function describeExplanation(explanation: Explanation): ExplanationText {
  const { candidates, others, otherProtocol, replicaCount, examinedCount, isTruncated, isWarming } = explanation;
  const details: string[] = [];
  const hasMatches = candidates.count + others.count > 0 || otherProtocol !== undefined;
  const reasons = hasMatches ? [] : listReasons(explanation).map(({ text }) => text);
  if (others.count > 0) {
    const verbs = others.count === 1 ? 'matches, but gets no calls' : 'match, but get no calls';
    details.push(`${formatMatches(others)} ${verbs}`);
  }
  if (otherProtocol) details.push(describeOtherProtocol(otherProtocol));
  details.push(...reasons);
  if (!hasMatches && reasons.length === 0) details.push(describeNoSimilar(replicaCount));
  if (isTruncated) details.push(`only ${examinedCount} of ${replicaCount} replicas were examined`);
  if (isWarming && candidates.count === 0)
    details.push('the API server has just started, so replicas can still be missing');
  return { message: describeMatches(explanation), details };
}

function describeMatches({ query, selector, protocol, candidates, others }: Explanation): string {
  const { count, first } = candidates;
  const queryText =
    selector === '' ? formatQuery(query) : `${formatQuery(query)} where ${JSON.stringify(shorten(selector))}`;
  const kind = protocol ? `${PROTOCOL_NAMES[protocol]} ` : '';
  if (count === 0) return `no ${others.count > 0 ? 'ready ' : ''}${kind}replica offers ${queryText}`;
  const ids = formatMatchIds(candidates);
  const noun = count === 1 ? `${kind}replica` : `${kind}replicas`;
  const state = first[0]?.state;
  if (state === 'suspect') {
    const verb = count === 1 ? 'does' : 'do';
    return `no ready ${kind}replica offers ${queryText}, but ${count} suspect ${noun} ${verb}: ${ids}`;
  }
  // The Python server reports no states.
  return `${count} ${state === undefined ? '' : 'ready '}${noun} ${count === 1 ? 'offers' : 'offer'} ${queryText}: ${ids}`;
}

/** Describes matches with the other protocol: `"r3" offers it over HTTP`. */
function describeOtherProtocol(matches: ProtocolMatches): string {
  const verb = matches.count === 1 ? 'offers' : 'offer';
  return `${formatMatchIds(matches)} ${verb} it over ${PROTOCOL_NAMES[matches.protocol]}`;
}

function describeNoSimilar(replicaCount: number): string {
  if (replicaCount === 0) return 'no replica is registered';
  if (replicaCount === 1) return '1 replica is registered, and offers nothing similar';
  return `${replicaCount} replicas are registered, and none offers anything similar`;
}

const NEAR_MISS_RANK = 5;

/** Returns the reasons why no replica matches, the most certain first. */
function listReasons(explanation: Explanation): Reason[] {
  const { list, splitReplicaId, offeredBy, nearMiss, selectorMiss } = explanation;
  const reasons: Reason[] = [];
  if (selectorMiss) reasons.push({ rank: 1, text: describeSelectorMiss(selectorMiss) });
  if (list) reasons.push({ rank: 2, text: describeList(list) });
  if (splitReplicaId !== undefined) {
    const text = `${quoteId(splitReplicaId)} has all of these pairs, but in different capability objects`;
    reasons.push({ rank: 3, text });
  } else if (!selectorMiss && offeredBy.length > 1 && offeredBy.every((id) => id !== undefined)) {
    reasons.push({ rank: 3, text: describeOwners(explanation) });
  }
  const suggestion = formatSuggestedPairs(explanation);
  if (suggestion !== undefined) reasons.push({ rank: 4, text: suggestion });
  if (nearMiss && !selectorMiss) reasons.push({ rank: NEAR_MISS_RANK, text: describeNearMiss(nearMiss) });
  return reasons;
}

/** Describes matches that a query did not find, as the end of a sentence: `"r1" (unready for 5s) does`. */
function describeFoundLater(matches: MatchTally): string {
  const { count, first } = matches;
  // A replica that is ready now became ready after the query.
  const isReadyNow = first.some(({ state, cordon }) => state === 'ready' && !cordon?.cordoned);
  return `${formatMatches(matches)} ${count === 1 ? 'does' : 'do'}${isReadyNow ? ' now: try again' : ''}`;
}

/** Formats matches with their states, such as `"r1" (unready for 5s) and "r2" (cordoned)`. */
function formatMatches({ first, count }: MatchTally): string {
  const names = first.slice(0, MAX_NAMED).map((match) => `${quoteId(match.id)} (${describeState(match)})`);
  return concatNames(names, count);
}

/** Formats the ids of matches, such as `"r1", "r2", "r3" and 5 more`. */
function formatMatchIds({ first, count }: MatchTally): string {
  return concatNames(
    first.slice(0, MAX_NAMED).map(({ id }) => quoteId(id)),
    count,
  );
}

function concatNames(names: readonly string[], count: number): string {
  const more = count - names.length;
  return concatList(more > 0 ? [...names, `${more} more`] : names);
}

/** Describes why a replica gets no calls: its cordon, or else its state. */
function describeState({ state = 'listed', stateAgeMs, cordon }: Match): string {
  if (cordon?.cordoned)
    return cordon.reason === '' ? 'cordoned' : `cordoned: ${JSON.stringify(shorten(cordon.reason))}`;
  return `${state}${stateAgeMs === undefined ? '' : ` for ${formatAge(stateAgeMs)}`}`;
}

function describeNearMiss({ id, requested, offered }: NonNullable<Explanation['nearMiss']>): string {
  const [key] = requested;
  return `wanted ${formatPair(requested)}, ${quoteId(id)} has ${formatPair([key, offered])}`;
}

function describeSelectorMiss({ id, term, key, offered }: SelectorMiss): string {
  const has = offered === undefined ? `no ${formatTerm(key)}` : formatPair([key, offered]);
  return `wanted ${shorten(term)}, ${quoteId(id)} has ${has}`;
}

function describeList({ id, requested: [key, value] }: NonNullable<Explanation['list']>): string {
  const advice = `register a capability for each value, such as ${formatPair([key, value])}`;
  return `${quoteId(id)} has a list for ${formatTerm(key)}, and a list never matches: ${advice}`;
}

/** Describes which replica has each pair, if every pair is offered but no replica has all of them. */
function describeOwners({ query, offeredBy }: Explanation): string {
  const parts = offeredBy
    .slice(0, 3)
    .map((id, index) => `${formatPair(getPair(query, index))} by ${quoteId(id ?? '')}`);
  return `no replica has all of these pairs: ${concatList(parts)}`;
}

function formatSuggestedPairs({ query, closest }: Explanation): string | undefined {
  const suggestions = closest.flatMap((pair, index) => {
    if (!pair) return [];
    const [key, value] = getPair(query, index);
    return pair[0] !== key && pair[1] !== value ? `the key ${formatTerm(pair[0])}` : formatPair(pair);
  });
  return suggestions.length === 0 ? undefined : `did you mean ${concatList(suggestions.slice(0, 3))}?`;
}

function getPair(query: Explanation['query'], index: number): Pair {
  return [query[index * 2] as string, query[index * 2 + 1] as string];
}

function formatPair([key, value]: Pair): string {
  return `${formatTerm(key)}=${formatTerm(value)}`;
}

function quoteId(id: string): string {
  return JSON.stringify(shorten(id));
}

/** Formats a key or value as on a command line. Quotes it if it has characters that are unusual in names. */
function formatTerm(text: string): string {
  const short = shorten(text);
  return /^[\p{L}\p{N}_./:@…-]+$/u.test(short) ? short : JSON.stringify(short);
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

function concatList(texts: readonly string[]): string {
  return texts.length < 2 ? texts.join('') : `${texts.slice(0, -1).join(', ')} and ${texts.at(-1)}`;
}
