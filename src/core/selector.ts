import { type Capability, type CapabilityQuery, getPairValue, matches, type Pairs } from './capability.js';
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

/** The selector without terms. */
export const EMPTY_SELECTOR: Selector = { text: '', terms: [] };

/**
 * Returns whether the replica with these capability objects matches a query and a selector. ONE object must have all pairs
 * of the query and satisfy all terms. If the query is empty and all terms are negative, they must hold for every object.
 */
export function matchesSelector(
  query: CapabilityQuery,
  { terms }: Selector,
  capabilities: readonly Capability[],
): boolean {
  if (terms.length === 0) return matches(query, capabilities);
  const isSatisfied = ({ pairs }: Capability): boolean => terms.every((term) => holds(term, pairs));
  if (query.length === 0 && !terms.some(isPositive)) return capabilities.length > 0 && capabilities.every(isSatisfied);
  return capabilities.some((capability) => isSatisfied(capability) && matches(query, [capability]));
}

/** Returns whether a term requires that an object has its key. A negative term holds for objects without the key. */
export function isPositive({ kind }: SelectorTerm): boolean {
  return kind !== 'notin' && kind !== 'absent';
}

/** Returns whether a term holds for the pairs of one capability object. */
function holds(term: SelectorTerm, pairs: Pairs): boolean {
  const value = getPairValue(term.key, pairs);
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
