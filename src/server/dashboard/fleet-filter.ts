import { listPairs } from '../../core/capability.js';
import { AnyserveError } from '../../core/errors.js';
import {
  type CapabilityFilter,
  EMPTY_SELECTOR,
  formatTerm,
  matchesSelector,
  type SelectorTerm,
} from '../../core/selector.js';
import { parseSelector } from '../../core/selector-parser.js';
import type { FleetRow, ShownState } from './fleet-row.js';

/** The text of a filter box: a filter, or the reason why it is invalid. */
export type ParsedFilter =
  | { readonly kind: 'filter'; readonly filter: CapabilityFilter }
  | { readonly kind: 'error'; readonly message: string };

/** Which rows the table of replicas shows. */
export interface RowFilter {
  readonly capabilities: CapabilityFilter;
  /** A part of the id or of the endpoint, in any case. Empty for all. */
  readonly name: string;
  /** Undefined for all. */
  readonly state: ShownState | undefined;
}

/** The filter that every replica passes. */
export const NO_FILTER: CapabilityFilter = { query: [], selector: EMPTY_SELECTOR };

const PAIR = /^[^\s=!<>,()"]+=[^\s,()"]*$/;

/**
 * Parses a selector such as `type=chat, ctx>=8192`, or a query as on the command line: `type=chat model=qwen2`. What a query can
 * say becomes the query of the filter, because the server explains queries best.
 */
export function parseFilterText(text: string): ParsedFilter {
  const words = text.trim().split(/\s+/);
  // Words with spaces between them are no selector. One pair is both.
  if (words.length > 1 && words.every((word) => PAIR.test(word))) return { kind: 'filter', filter: toQuery(words) };
  try {
    const { terms } = parseSelector(text, 'filter');
    return { kind: 'filter', filter: separateTerms(terms) };
  } catch (error) {
    if (error instanceof AnyserveError) return { kind: 'error', message: error.message.replace(/^filter: /, '') };
    throw error;
  }
}

/** Returns the rows that pass a filter. */
export function filterRows(
  rows: Iterable<FleetRow>,
  { capabilities: { query, selector }, name, state }: RowFilter,
): FleetRow[] {
  const filter = { query, selector };
  const part = name.trim().toLowerCase();
  const found: FleetRow[] = [];
  for (const row of rows) {
    if (state !== undefined && row.state !== state) continue;
    if (part !== '' && !row.id.toLowerCase().includes(part) && !row.endpoint.toLowerCase().includes(part)) continue;
    // A replica without capabilities is shown unless a filter asks for one.
    const isEmpty = query.length === 0 && selector.terms.length === 0;
    if (isEmpty || matchesSelector(query, filter.selector, row.capabilities)) found.push(row);
  }
  return found;
}

function toQuery(words: readonly string[]): CapabilityFilter {
  const pairs = new Map(words.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]));
  return { query: [...pairs].flat(), selector: EMPTY_SELECTOR };
}

/** Makes pairs of a query from the terms with one value, and a selector from the others. Together they mean the same. */
function separateTerms(terms: readonly SelectorTerm[]): CapabilityFilter {
  const pairs = new Map<string, string>();
  const others: SelectorTerm[] = [];
  for (const term of terms) {
    const [value] = term.kind === 'in' && term.values.size === 1 ? term.values : [];
    if (value === undefined || pairs.has(term.key)) others.push(term);
    else pairs.set(term.key, value);
  }
  return {
    query: [...pairs].flat(),
    selector: others.length === 0 ? EMPTY_SELECTOR : { text: others.map(formatTerm).join(','), terms: others },
  };
}

/** Returns all conditions of a filter as terms. */
export function listTerms({ query, selector }: CapabilityFilter): SelectorTerm[] {
  const pairs = listPairs(query).map(([key, value]): SelectorTerm => ({ kind: 'in', key, values: new Set([value]) }));
  return [...pairs, ...selector.terms];
}
