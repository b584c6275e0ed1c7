import { parseConditions, QUERY_HEADER } from '../client/call-conditions.js';
import { type CallConditions, NO_CONDITIONS } from '../client/model-fleet.js';
import { getErrorMessage } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import { EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import { getHeaderValues } from '../http/request-head.js';

/** A caller of the gateway, and what it can ask for. */
export interface Caller {
  /** Name of the key, for logs; undefined without keys. */
  readonly name: string | undefined;
  /** Whether it can choose among replicas, and learns which one has responded. */
  readonly canSteer: boolean;
  /** Selector that the replicas of all its calls must match. */
  readonly selector: Selector;
}

/** The caller of a gateway without keys. */
export const ANONYMOUS: Caller = { name: undefined, canSteer: true, selector: EMPTY_SELECTOR };

/**
 * Finds the caller by the values of a request's `authorization` headers; undefined for an unknown key. `connection` is the same object
 * for all requests of a connection.
 */
export type FindCaller = (authorization: readonly string[], connection: object) => Caller | undefined;

/** Which replicas of a model a request wants. */
export interface Steering {
  readonly conditions: CallConditions;
  /** Stands for the conditions: the same text for the same conditions. */
  readonly text: string;
  /** Calls with the same key go to the same replica. */
  readonly affinity: string | undefined;
}

/** Request headers that choose among the replicas of a model. */
const SELECTOR_HEADER = 'x-anyserve-selector';
const PREFER_HEADER = 'x-anyserve-prefer';
const AFFINITY_HEADER = 'x-anyserve-affinity';

const HEADER_PREFIX = 'x-anyserve-';

/** Maximum number of different conditions that are kept parsed. */
const MAX_CONDITIONS = 1000;

const NOT_STEERED: Steering = { conditions: NO_CONDITIONS, text: '', affinity: undefined };

/** Reads the headers with which callers choose among replicas. */
export class SteeringHeaders {
  readonly #parsed = new GenerationalCache<string, CallConditions>(MAX_CONDITIONS);

  /** Reads the headers of a request. A caller that can't steer has only the selector of its key. */
  read(rawHeaders: readonly string[], caller: Caller): Steering | { readonly problem: string } {
    const isSteered = caller.canSteer && hasSteeringHeader(rawHeaders);
    if (!isSteered && caller.selector.terms.length === 0) return NOT_STEERED;
    const get = (name: string): readonly string[] => (isSteered ? getHeaderValues(rawHeaders, name) : []);
    const [query, selector, preference] = [get(QUERY_HEADER), get(SELECTOR_HEADER), get(PREFER_HEADER)];
    const [affinity] = get(AFFINITY_HEADER);
    if (query.length > 1) return { problem: `more than one header ${QUERY_HEADER}` };
    const text = JSON.stringify([caller.selector.text, query, selector, preference]);
    try {
      let conditions = this.#parsed.get(text);
      if (!conditions) {
        conditions = parseConditions({ query: query[0] ?? '', selector, preference }, caller.selector);
        this.#parsed.set(text, conditions);
      }
      return { conditions, text, affinity };
    } catch (error) {
      return { problem: getErrorMessage(error) };
    }
  }
}

function hasSteeringHeader(rawHeaders: readonly string[]): boolean {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    // Few names are as long, and a comparison of lengths is a fraction of that of letters.
    if (name.length > HEADER_PREFIX.length && name.slice(0, HEADER_PREFIX.length).toLowerCase() === HEADER_PREFIX)
      return true;
  }
  return false;
}
