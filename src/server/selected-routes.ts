import type { ServerResponse } from 'node:http';
import { parseQuery } from '../api/query.js';
import { PREFER_HEADER, parseSelectorHeader, SELECTOR_APPLIED, SELECTOR_HEADER } from '../api/selector-header.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { AnyserveError } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import { PreparedFilter } from '../core/index/prepared-filter.js';
import type { Clock } from '../core/ports.js';
import { getOtherProtocol, type Protocol } from '../core/protocol.js';
import type { Registry } from '../core/registry.js';
import { NO_EXCLUSIONS } from '../core/routable-replicas.js';
import { parseTarget } from '../http/request-head.js';
import { detachString, detachStrings } from '../json/string-memory.js';
import { sendError } from './error-response.js';
import { createRouteResponder, type RouteOutcome, sendTooManySearches } from './route-responses.js';
import { parseHeader, type RoutingHeaders } from './routing-headers.js';
import type { SearchTurns } from './search-turns.js';

/** Maximum number of cached requests, and maximum length of the target and headers of one, in UTF-16 units. */
const MAX_CACHED = 1024;
const MAX_CACHED_LENGTH = 4096;

/** The filters of a request, the preferred one first, its protocol, and whether the last search was fast. */
interface Selection {
  readonly filters: readonly PreparedFilter[];
  readonly protocol: Protocol | undefined;
  isFast: boolean;
}

/** Dependencies of {@link SelectedRoutes}. */
export interface SelectedRoutesOptions {
  readonly registry: Pick<Registry<SerializedReplica>, 'search' | 'id' | 'stalenessMs'>;
  readonly clock: Clock;
  readonly isWarming: () => boolean;
  readonly turns: SearchTurns;
}

/** Responds to route requests with a selector or a preference. A search can take several turns of the event loop. */
export class SelectedRoutes {
  readonly #registry: SelectedRoutesOptions['registry'];
  readonly #turns: SearchTurns;
  readonly #send: (response: ServerResponse, outcome: RouteOutcome) => void;
  readonly #cache = new GenerationalCache<string, Selection>(MAX_CACHED);

  constructor({ registry, clock, isWarming, turns }: SelectedRoutesOptions) {
    this.#registry = registry;
    this.#turns = turns;
    this.#send = createRouteResponder({ registry, clock, isWarming }, { [SELECTOR_HEADER]: SELECTOR_APPLIED });
  }

  /** Responds now, or resolves when it has responded. */
  respond(
    response: ServerResponse,
    target: string,
    headers: RoutingHeaders,
    protocol: Protocol | undefined,
    excluded: ReadonlySet<ReplicaId>,
  ): void | Promise<void> {
    const selection = this.#getSelection(target, headers, protocol);
    if (selection instanceof AnyserveError) return sendError(response, selection.code, selection.message);
    const search = (): void | Promise<void> => {
      if (response.destroyed) return;
      const { result, isFast } = this.#turns.run(() => this.#find(selection, excluded));
      selection.isFast = isFast && result.kind !== 'unfinished';
      if (result.kind === 'unfinished') return this.#searchLater(response, search);
      this.#send(response, result);
    };
    return selection.isFast || this.#turns.isFree ? search() : this.#searchLater(response, search);
  }

  /** Finds a match, or else whether the other protocol has one. */
  #find(
    { filters, protocol }: Selection,
    excluded: ReadonlySet<ReplicaId>,
  ): RouteOutcome | { readonly kind: 'unfinished' } {
    const result = this.#registry.search(filters, excluded, protocol);
    if (result.kind === 'found') return { kind: 'found', replica: result.registration.replica };
    if (result.kind === 'unfinished') return result;
    const otherProtocol = protocol && getOtherProtocol(protocol);
    const other = otherProtocol && this.#registry.search(filters, NO_EXCLUSIONS, otherProtocol);
    if (other?.kind === 'unfinished') return other;
    return { kind: 'none', otherProtocol: other?.kind === 'found' ? otherProtocol : undefined };
  }

  #searchLater(response: ServerResponse, search: () => void | Promise<void>): void | Promise<void> {
    return this.#turns.runLater(search) ?? sendTooManySearches(response);
  }

  #getSelection(target: string, headers: RoutingHeaders, protocol: Protocol | undefined): Selection | AnyserveError {
    const key = JSON.stringify([headers.selector, headers.prefer, protocol, target]);
    const cached = this.#cache.get(key);
    if (cached) return cached;
    const selector = parseHeader(() => parseSelectorHeader(headers.selector, SELECTOR_HEADER));
    const preference = parseHeader(() => parseSelectorHeader(headers.prefer, PREFER_HEADER));
    if (selector instanceof AnyserveError) return selector;
    if (preference instanceof AnyserveError) return preference;
    const filter = { query: detachStrings(parseQuery(parseTarget(target).search)), selector };
    const preferred = preference.terms.length > 0 ? [new PreparedFilter(filter, preference)] : [];
    const selection = { filters: [...preferred, new PreparedFilter(filter)], protocol, isFast: false };
    if (key.length <= MAX_CACHED_LENGTH) this.#cache.set(detachString(key), selection);
    return selection;
  }
}
