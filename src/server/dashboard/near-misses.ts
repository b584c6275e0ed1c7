import { getPairValue, type Pairs } from '../../core/capability.js';
import { type CapabilityFilter, formatTerm, holdsForValue, matchesSelector } from '../../core/selector.js';
import { listTerms } from './fleet-filter.js';
import type { FleetRow } from './fleet-row.js';

/** A condition that a replica doesn't satisfy. */
export interface UnmetTerm {
  readonly wanted: string;
  readonly key: string;
  /** The value of the key. Undefined if the capability object doesn't have the key. */
  readonly offered: string | undefined;
}

/** A replica that doesn't match, and what its most similar capability object lacks. */
export interface NearMiss {
  readonly row: FleetRow;
  readonly unmet: readonly UnmetTerm[];
}

/** The replicas that match a filter, and those that nearly do. */
export interface MatchReport {
  /** Ready replicas first. */
  readonly matches: readonly FleetRow[];
  /** In the order of the number of unmet conditions. */
  readonly misses: readonly NearMiss[];
  /** Number of replicas that satisfy at least one condition, but not all. */
  readonly missCount: number;
}

/** Maximum number of near misses that are listed. */
const MAX_MISSES = 50;

/** Finds the replicas that match a filter, and those that satisfy some of its conditions in one capability object. */
export function findMatches(filter: CapabilityFilter, rows: Iterable<FleetRow>): MatchReport {
  const terms = listTerms(filter);
  const matches: FleetRow[] = [];
  const misses: NearMiss[] = [];
  for (const row of rows) {
    if (matchesSelector(filter.query, filter.selector, row.capabilities)) {
      matches.push(row);
      continue;
    }
    const best = findMostSimilar(terms, row);
    // With one condition, every other replica lacks it: that isn't near.
    if (best && best.length < terms.length) misses.push({ row, unmet: best });
    else if (best && terms.length === 1 && best[0]?.offered !== undefined) misses.push({ row, unmet: best });
  }
  misses.sort((a, b) => a.unmet.length - b.unmet.length || (a.row.sortKey < b.row.sortKey ? -1 : 1));
  matches.sort((a, b) => rankCalls(a) - rankCalls(b) || (a.sortKey < b.sortKey ? -1 : 1));
  return { matches, misses: misses.slice(0, MAX_MISSES), missCount: misses.length };
}

/** Describes what a replica lacks: `wanted zone=a, has zone=b`. */
export function formatUnmetTerm({ wanted, key, offered }: UnmetTerm): string {
  return `wanted ${wanted}, has ${offered === undefined ? `no ${key}` : `${key}=${offered}`}`;
}

type Terms = ReturnType<typeof listTerms>;

/** Returns what the capability object with the fewest unmet conditions lacks. Undefined for a replica without capabilities. */
function findMostSimilar(terms: Terms, { capabilities }: FleetRow): UnmetTerm[] | undefined {
  let best: UnmetTerm[] | undefined;
  for (const { pairs } of capabilities) {
    const unmet = listUnmet(terms, pairs);
    if (!best || unmet.length < best.length) best = unmet;
  }
  return best;
}

function listUnmet(terms: Terms, pairs: Pairs): UnmetTerm[] {
  const unmet: UnmetTerm[] = [];
  for (const term of terms) {
    const offered = getPairValue(term.key, pairs);
    if (!holdsForValue(term, offered)) unmet.push({ wanted: formatTerm(term), key: term.key, offered });
  }
  return unmet;
}

/** Returns in which order requests choose a replica: ready ones, then suspect ones; others get no calls. */
function rankCalls({ state }: FleetRow): number {
  return state === 'ready' ? 0 : state === 'suspect' ? 1 : 2;
}
