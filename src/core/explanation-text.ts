import type { Pair } from './closest-pair.js';
import { formatAge } from './durations.js';
import type { Explanation, UnroutableMatch } from './explanation.js';

/** Maximum length of an untrusted text in a sentence, in UTF-16 units. */
const MAX_SHOWN = 64;

/** The most certain reason why no replica matches, as one clause for people. */
export interface Reason {
  /** Order of the reasons by the probability that the user needs them: 0 is the most probable. */
  readonly rank: number;
  readonly text: string;
}

/** Returns the most certain reason of an explanation; undefined if no offered capability resembles the query. */
export function summarizeExplanation(explanation: Explanation): Reason | undefined {
  const { unroutable, unroutableCount, list, splitReplicaId, offeredBy, nearMiss } = explanation;
  if (unroutableCount > 0) return { rank: 0, text: describeUnroutable(unroutable, unroutableCount) };
  if (list) return { rank: 1, text: describeList(list) };
  if (splitReplicaId !== undefined) {
    return { rank: 2, text: `${quoteId(splitReplicaId)} has all of these pairs, but in different capability objects` };
  }
  if (offeredBy.length > 1 && offeredBy.every((id) => id !== undefined))
    return { rank: 2, text: describeOwners(explanation) };
  const suggestion = formatSuggestedPairs(explanation);
  if (suggestion !== undefined) return { rank: 3, text: suggestion };
  if (nearMiss) {
    const [key] = nearMiss.requested;
    const actual = `${quoteId(nearMiss.id)} has ${formatPair([key, nearMiss.offered])}`;
    return { rank: 4, text: `wanted ${formatPair(nearMiss.requested)}, ${actual}` };
  }
  return undefined;
}

function describeUnroutable(unroutable: readonly UnroutableMatch[], count: number): string {
  const names = unroutable.map((match) => `${quoteId(match.id)} (${describeObstacle(match)})`);
  const more = count - names.length;
  const all = more > 0 ? [...names, `${more} more`] : names;
  // A replica that is ready now became ready after the query.
  const end = unroutable.some(({ state, cordon }) => state === 'ready' && !cordon?.cordoned) ? ' now: try again' : '';
  return `${concatList(all)} ${count === 1 ? 'does' : 'do'}${end}`;
}

/** Describes why a replica gets no calls: its cordon, or else its state. */
function describeObstacle({ state = 'listed', stateAgeMs, cordon }: UnroutableMatch): string {
  if (cordon?.cordoned)
    return cordon.reason === '' ? 'cordoned' : `cordoned: ${JSON.stringify(shorten(cordon.reason))}`;
  return `${state}${stateAgeMs === undefined ? '' : ` for ${formatAge(stateAgeMs)}`}`;
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
