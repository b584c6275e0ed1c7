import { formatAge } from './durations.js';
import type { Explanation, Pair, UnroutableMatch } from './explanation.js';

/** Longest text from outside that a sentence has. */
const MAX_SHOWN = 64;

/** Why no replica matches, as a person reads it: one clause, the most certain reason alone. */
export interface Reason {
  /** How certain it is that this is what the user needs to know; 0 is the most. */
  readonly rank: number;
  readonly text: string;
}

/** The reason that an explanation comes to; undefined when nothing that is offered is like what is asked for. */
export function summarizeExplanation(explanation: Explanation): Reason | undefined {
  const { held, heldCount, list, apartIn, offeredBy, nearMiss } = explanation;
  if (heldCount > 0) return { rank: 0, text: heldText(held, heldCount) };
  if (list) return { rank: 1, text: listText(list) };
  if (apartIn !== undefined) {
    return { rank: 2, text: `${named(apartIn)} has all of these pairs, but in different capability objects` };
  }
  if (offeredBy.length > 1 && offeredBy.every((id) => id !== undefined))
    return { rank: 2, text: apartText(explanation) };
  const meant = meantText(explanation);
  if (meant !== undefined) return { rank: 3, text: meant };
  if (nearMiss) {
    const [key] = nearMiss.wanted;
    const instead = `${named(nearMiss.id)} has ${pairText([key, nearMiss.has])}`;
    return { rank: 4, text: `wanted ${pairText(nearMiss.wanted)}, ${instead}` };
  }
  return undefined;
}

function heldText(held: readonly UnroutableMatch[], count: number): string {
  const names = held.map(({ id, state = 'listed', forMs }) => {
    return `${named(id)} (${state}${forMs === undefined ? '' : ` for ${formatAge(forMs)}`})`;
  });
  const more = count - names.length;
  const all = more > 0 ? [...names, `${more} more`] : names;
  // It became ready after it was asked for.
  const end = held.some(({ state }) => state === 'ready') ? ' by now: try again' : '';
  return `${joined(all)} ${count === 1 ? 'does' : 'do'}${end}`;
}

function listText({ id, wanted: [key, value] }: NonNullable<Explanation['list']>): string {
  const advice = `register a capability for each value, such as ${pairText([key, value])}`;
  return `${named(id)} has a list for ${shown(key)}, and a list never matches: ${advice}`;
}

/** The pairs by the replicas that have them: each is offered, but no replica has all. */
function apartText({ query, offeredBy }: Explanation): string {
  const parts = offeredBy.slice(0, 3).map((id, at) => `${pairText(pairAt(query, at))} by ${named(id ?? '')}`);
  return `no replica has all of these pairs: ${joined(parts)}`;
}

function meantText({ query, closest }: Explanation): string | undefined {
  const meant = closest.flatMap((pair, at) => {
    if (!pair) return [];
    const [key, value] = pairAt(query, at);
    return pair[0] !== key && pair[1] !== value ? `the key ${shown(pair[0])}` : pairText(pair);
  });
  return meant.length === 0 ? undefined : `did you mean ${joined(meant.slice(0, 3))}?`;
}

function pairAt(query: Explanation['query'], at: number): Pair {
  return [query[at * 2] as string, query[at * 2 + 1] as string];
}

function pairText([key, value]: Pair): string {
  return `${shown(key)}=${shown(value)}`;
}

function named(id: string): string {
  return JSON.stringify(cut(id));
}

/** A text as it stands on a command line: in quotes where it has other characters than names have. */
function shown(text: string): string {
  const short = cut(text);
  return /^[\p{L}\p{N}_./:@…-]+$/u.test(short) ? short : JSON.stringify(short);
}

function cut(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

function joined(texts: readonly string[]): string {
  return texts.length < 2 ? texts.join('') : `${texts.slice(0, -1).join(', ')} and ${texts.at(-1)}`;
}
