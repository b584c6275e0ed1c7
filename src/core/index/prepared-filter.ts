import { type Capability, getPairValue, type Pairs } from '../capability.js';
import {
  type CapabilityFilter,
  combineSelectors,
  EMPTY_SELECTOR,
  isNegative,
  matchesSelector,
  type Selector,
  type SelectorTerm,
} from '../selector.js';
import { PreparedQuery } from './prepared-query.js';

/** A query with a selector, and possibly a preference, for repeated use. Can be used with any index. */
export class PreparedFilter {
  /** The pairs that a match must have: those of the query, and those of the terms `key=value`. */
  readonly query: PreparedQuery;
  /** The other terms. If there are none, the index answers the query. */
  readonly selector: Selector;
  /** A text that only filters with the same pairs and the same other terms share. */
  readonly key: string;
  /** A filter that all objects of a match must satisfy, while `query` and `selector` are about one of them. */
  readonly #forAllObjects: PreparedFilter | undefined;

  /** With `preference`, only the matches of the filter that also satisfy the preference match. */
  constructor(filter: CapabilityFilter, preference: Selector = EMPTY_SELECTOR) {
    const combined = combineSelectors(filter.selector, preference);
    const { pairs, terms } = moveEqualTerms(filter.query, combined.terms);
    this.query = new PreparedQuery(pairs);
    this.selector = terms.length === 0 ? EMPTY_SELECTOR : { text: combined.text, terms };
    // A preference with a positive term must not turn negative terms into terms about one object.
    const isExtra = preference.terms.length > 0 && filter.selector.terms.length > 0 && isNegative(filter);
    this.#forAllObjects = isExtra ? new PreparedFilter(filter) : undefined;
    this.key = JSON.stringify([pairs, terms.map(serializeTerm), this.#forAllObjects?.key]);
  }

  /** Returns whether a replica with these capability objects matches. */
  matches(capabilities: readonly Capability[]): boolean {
    return matchesSelector(this.query.pairs, this.selector, capabilities) && this.#matchesForAll(capabilities);
  }

  #matchesForAll(capabilities: readonly Capability[]): boolean {
    return this.#forAllObjects?.matches(capabilities) ?? true;
  }
}

/** Moves the terms `key=value` to the pairs of the query. A term that contradicts a pair stays, so that nothing matches. */
function moveEqualTerms(
  query: Pairs,
  terms: readonly SelectorTerm[],
): { readonly pairs: Pairs; readonly terms: readonly SelectorTerm[] } {
  const pairs = [...query];
  const others = terms.filter((term) => {
    if (term.kind !== 'in' || term.values.size !== 1) return true;
    const [value] = term.values as ReadonlySet<string> & Iterable<string>;
    const present = getPairValue(term.key, pairs);
    if (present === undefined) pairs.push(term.key, value as string);
    return present !== undefined && present !== value;
  });
  return { pairs, terms: others };
}

function serializeTerm(term: SelectorTerm): readonly unknown[] {
  switch (term.kind) {
    case 'in':
    case 'notin':
      return [term.kind, term.key, ...term.values];
    case 'exists':
    case 'absent':
      return [term.kind, term.key];
    case 'compare':
      return [term.operator, term.key, term.number.text];
    default:
      return term satisfies never;
  }
}
