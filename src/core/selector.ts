import { type Capability, type CapabilityQuery, getPairValue, hasPairs, matches, type Pairs } from './capability.js';
import { compareDecimals, type Decimal, toDecimal } from './decimal.js';

/** An operator that compares numbers. */
export type ComparisonOperator = '<' | '<=' | '>' | '>=';

/** A condition on one capability object. `key=value` is an `in` with one value, and `key!=value` a `notin`. */
export type SelectorTerm =
  | { readonly kind: 'in' | 'notin'; readonly key: string; readonly values: ReadonlySet<string> }
  | { readonly kind: 'exists' | 'absent'; readonly key: string }
  | {
      readonly kind: 'compare';
      readonly key: string;
      readonly operator: ComparisonOperator;
      readonly number: Decimal;
    };

/** Conditions on the capability objects of a replica, in the grammar of Kubernetes label selectors. All terms must hold. */
export interface Selector {
  /** The selector as it was given. */
  readonly text: string;
  /** Empty for a selector that every capability object satisfies. */
  readonly terms: readonly SelectorTerm[];
}

/** Which replicas a caller asks for: the pairs and the selector that one capability object must match. */
export interface CapabilityFilter {
  readonly query: CapabilityQuery;
  readonly selector: Selector;
}

/** The selector without terms. */
export const EMPTY_SELECTOR: Selector = { text: '', terms: [] };

/**
 * Returns whether the replica with these capability objects matches a query and a selector. ONE object must have all pairs
 * of the query and satisfy all terms. If the query is empty and all terms are negative, they must hold for every object.
 */
export function matchesSelector(
  query: CapabilityQuery,
  selector: Selector,
  capabilities: readonly Capability[],
): boolean {
  if (selector.terms.length === 0) return matches(query, capabilities);
  const mustAllMatch = isNegative({ query, selector });
  // A loop, because a search calls this for every replica, and closures double its time.
  for (const { pairs } of capabilities) {
    const isMatch = hasPairs(query, pairs) && satisfiesAll(selector.terms, pairs);
    if (isMatch !== mustAllMatch) return isMatch;
  }
  return mustAllMatch && capabilities.length > 0;
}

function satisfiesAll(terms: readonly SelectorTerm[], pairs: Pairs): boolean {
  for (const term of terms) if (!holds(term, pairs)) return false;
  return true;
}

/** Returns whether a filter has no pairs and no positive terms. All objects of a match must satisfy it. */
export function isNegative({ query, selector }: CapabilityFilter): boolean {
  return query.length === 0 && !selector.terms.some(isPositive);
}

/** Returns whether a match of a filter also satisfies a preference. One object must satisfy both, if the filter is not negative. */
export function matchesPreference(
  { query, selector }: CapabilityFilter,
  preference: Selector,
  capabilities: readonly Capability[],
): boolean {
  return matchesSelector(query, combineSelectors(selector, preference), capabilities);
}

/** Formats a term as it is written in a selector. */
export function formatTerm(term: SelectorTerm): string {
  switch (term.kind) {
    case 'in':
    case 'notin':
      return formatValues(term.key, term.kind, [...term.values].map(quoteValue));
    case 'exists':
      return quoteValue(term.key);
    case 'absent':
      return `!${quoteValue(term.key)}`;
    case 'compare':
      return `${quoteValue(term.key)}${term.operator}${term.number.text}`;
    default:
      return term satisfies never;
  }
}

function formatValues(key: string, kind: 'in' | 'notin', values: readonly string[]): string {
  const name = quoteValue(key);
  return values.length === 1 ? `${name}${kind === 'in' ? '=' : '!='}${values}` : `${name} ${kind} (${values})`;
}

/** Quotes a key or value that can't be written as it is. */
function quoteValue(text: string): string {
  return /^[\p{L}\p{N}_./:@-]+$/u.test(text) ? text : JSON.stringify(text);
}

/** Combines the terms of two selectors. */
export function combineSelectors(a: Selector, b: Selector): Selector {
  if (a.terms.length === 0 || b.terms.length === 0) return a.terms.length === 0 ? b : a;
  return { text: `${a.text},${b.text}`, terms: [...a.terms, ...b.terms] };
}

/** Returns whether a term requires that an object has its key. A negative term holds for objects without the key. */
function isPositive({ kind }: SelectorTerm): boolean {
  return kind !== 'notin' && kind !== 'absent';
}

/** Returns whether a term holds for the pairs of one capability object. */
function holds(term: SelectorTerm, pairs: Pairs): boolean {
  return holdsForValue(term, getPairValue(term.key, pairs));
}

/** Returns whether a term holds for an object with this value of its key; undefined if the object does not have the key. */
export function holdsForValue(term: SelectorTerm, value: string | undefined): boolean {
  switch (term.kind) {
    case 'in':
      return value !== undefined && term.values.has(value);
    case 'notin':
      return value === undefined || !term.values.has(value);
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
    case 'compare':
      return value !== undefined && satisfiesComparison(value, term.operator, term.number);
    default:
      return term satisfies never;
  }
}

function satisfiesComparison(value: string, operator: ComparisonOperator, number: Decimal): boolean {
  const decimal = toDecimal(value);
  if (!decimal) return false;
  const order = compareDecimals(decimal, number);
  if (order === 0) return operator === '<=' || operator === '>=';
  return order < 0 ? operator.startsWith('<') : operator.startsWith('>');
}
