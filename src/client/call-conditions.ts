import { parseQuery } from '../api/query.js';
import { PREFER_HEADER, parseSelectorHeader, SELECTOR_HEADER } from '../api/selector-header.js';
import { combineSelectors, EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import type { CallConditions } from './model-fleet.js';

/** Request header with capability pairs that a replica must have, as a query string: `gpu=h100&zone=a`. */
export const QUERY_HEADER = 'x-anyserve-query';

/** The conditions of one request, as they were sent. */
export interface ConditionHeaders {
  readonly query: string;
  readonly selector: readonly string[];
  readonly preference: readonly string[];
}

/** Parses the conditions of a request. Adds a selector that applies in any case. Throws `usage` with the header's name. */
export function parseConditions(headers: ConditionHeaders, always: Selector = EMPTY_SELECTOR): CallConditions {
  return {
    query: parseQuery(headers.query),
    selector: combineSelectors(always, parseSelectorHeader(headers.selector, SELECTOR_HEADER)),
    preference: parseSelectorHeader(headers.preference, PREFER_HEADER),
  };
}
