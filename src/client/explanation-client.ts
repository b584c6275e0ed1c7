import { EXPLAIN_PATH, parseExplanation } from '../api/explanation-json.js';
import { formatProtocolHeader } from '../api/protocol-header.js';
import { serializeQuery } from '../api/query.js';
import { toExplainedReplica } from '../api/replica-list-json.js';
import { formatSelectorHeader, SELECTOR_HEADER } from '../api/selector-header.js';
import type { CapabilityQuery } from '../core/capability.js';
import { type ExplainedConditions, explainQuery } from '../core/explainer.js';
import type { Explanation } from '../core/explanation.js';
import { mergeExplanations } from '../core/merged-explanation.js';
import { EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import {
  type AllResponses,
  type ApiRequest,
  type ApiRequestOptions,
  type ApiServers,
  getRegistryId,
} from './api-servers.js';
import { dropSameRegistry, mergeLists, type ServerReplicas } from './merged-list.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for an explanation, in ms. Among 100,000 replicas it takes up to 2 s, and others can be made before it. */
const EXPLAIN_TIMEOUT_MS = 5000;

/** Maximum size of an explanation. It quotes the query, and some pairs and ids of replicas. */
const MAX_EXPLANATION_BYTES = 1024 * 1024;

/** Explanations by one API server, one for each query. */
export interface ServerExplanations {
  readonly server: ServerAddress;
  readonly registryId: string | undefined;
  readonly explanations: readonly Explanation[];
}

/** The explanations of all API servers. */
export interface AllExplanations {
  readonly servers: readonly ServerExplanations[];
  readonly failures: AllResponses<unknown>['failures'];
}

/** Options of an explanation. */
export interface ExplainOptions extends ApiRequestOptions, ExplainedConditions {}

/** Explanations of a server, or its list if it makes none. */
type ServerFindings = ServerExplanations | ServerReplicas;

/**
 * Asks API servers which replicas queries find, or why they find none. The list of a server without explanations, such as the
 * Python server, or without explanations for a protocol or a selector, is explained here.
 * Ask for people only, and never in a retry loop: a server examines all its replicas.
 */
export class ExplanationClient {
  readonly #servers: ApiServers;
  readonly #list: (server: ServerAddress, signal: AbortSignal) => Promise<Omit<ServerReplicas, 'server'>>;

  constructor(
    servers: ApiServers,
    list: (server: ServerAddress, signal: AbortSignal) => Promise<Omit<ServerReplicas, 'server'>>,
  ) {
    this.#servers = servers;
    this.#list = list;
  }

  /** Explains queries at each server. Rejects with `server_unreachable` if no server responds. */
  async explainEach(queries: readonly CapabilityQuery[], options: ExplainOptions = {}): Promise<AllExplanations> {
    const { findings, failures } = await this.#find(queries, options);
    const servers = findings.map((one) => ('explanations' in one ? one : explainLists(queries, [one], options)));
    return { servers, failures };
  }

  /** Explains queries among the replicas of all servers: returns one explanation for each query. Rejects in the same way. */
  async explain(queries: readonly CapabilityQuery[], options: ExplainOptions = {}): Promise<Explanation[]> {
    const { findings } = await this.#find(queries, options);
    const explained = findings.filter((one) => 'explanations' in one);
    const lists = findings.filter((one) => 'replicas' in one);
    const all = [...explained, ...(lists.length > 0 ? [explainLists(queries, lists, options)] : [])];
    return queries.map((_, at) => {
      const [first, ...others] = all.map(({ explanations }) => explanations[at] as Explanation);
      return mergeExplanations([first as Explanation, ...others]);
    });
  }

  async #find(queries: readonly CapabilityQuery[], options: ExplainOptions) {
    const { responses, failures } = await this.#servers.askAll(options, (server, signal) =>
      this.#askServer(server, queries, options, signal),
    );
    return { findings: dropSameRegistry(responses.map(({ value }) => value)), failures };
  }

  async #askServer(
    server: ServerAddress,
    queries: readonly CapabilityQuery[],
    conditions: ExplainedConditions,
    signal: AbortSignal,
  ): Promise<ServerFindings> {
    const explanations: Explanation[] = [];
    let registryId: string | undefined;
    for (const query of queries) {
      const found = await this.#servers.get(server, createExplainRequest(query, conditions), signal);
      if (!found) return { server, ...(await this.#list(server, signal)) };
      explanations.push(found.explanation);
      registryId = found.registryId;
    }
    return { server, registryId, explanations };
  }
}

interface Explained {
  readonly explanation: Explanation;
  readonly registryId: string | undefined;
}

/** Creates a request whose value is undefined if the server makes no explanations, or ignores the conditions. */
function createExplainRequest(
  query: CapabilityQuery,
  { selector = EMPTY_SELECTOR, protocol }: ExplainedConditions,
): ApiRequest<Explained | undefined> {
  const search = serializeQuery(query);
  return {
    path: `${EXPLAIN_PATH}${search && `?${search}`}`,
    headers: { ...formatProtocolHeader(protocol), ...formatSelectorHeaders(selector) },
    maxBytes: MAX_EXPLANATION_BYTES,
    timeoutMs: EXPLAIN_TIMEOUT_MS,
    parse(status, body, headers) {
      if (status === 404) return { value: undefined };
      const explanation = status === 200 ? parseExplanation(body, query) : undefined;
      const isForAll = explanation && (explanation.protocol !== protocol || explanation.selector !== selector.text);
      if (isForAll) return { value: undefined };
      return explanation && { value: { explanation, registryId: getRegistryId({ headers }) } };
    },
  };
}

function formatSelectorHeaders(selector: Selector): Record<string, string> {
  return selector.terms.length === 0 ? {} : { [SELECTOR_HEADER]: formatSelectorHeader(selector) };
}

/** Explains queries among the replicas of lists, as the first server. */
function explainLists(
  queries: readonly CapabilityQuery[],
  lists: readonly ServerReplicas[],
  conditions: ExplainedConditions,
): ServerExplanations {
  const [{ server, registryId }] = lists as readonly [ServerReplicas, ...ServerReplicas[]];
  const replicas = mergeLists(lists).map(({ listed }) => toExplainedReplica(listed));
  return { server, registryId, explanations: queries.map((query) => explainQuery(query, replicas, conditions)) };
}
