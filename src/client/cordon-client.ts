import { parseErrorDetail } from '../api/api-responses.js';
import { type CordonResponse, parseCordonResponse } from '../api/cordon-json.js';
import type { Cordon } from '../core/cordon.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import { trimTrailingSlashes } from '../http/request-head.js';
import { toUnexpectedResponseError } from './api-failure.js';
import { type AllResponses, API_RESPONSE_TIMEOUT_MS, type ApiRequestOptions, type ApiServers } from './api-servers.js';
import type { ServerAddress } from './server-list.js';

/** Outcome of a request to cordon or uncordon a replica at one API server. */
export type CordonOutcome =
  | ({ readonly kind: 'done' } & CordonResponse)
  | { readonly kind: 'refused'; readonly error: AnyserveError };

/** Detail of the 404 response to an unknown path. */
const UNKNOWN_PATH_DETAIL = 'Not Found';

/** Cordons and uncordons replicas at API servers. */
export class CordonClient {
  readonly #servers: ApiServers;

  constructor(servers: ApiServers) {
    this.#servers = servers;
  }

  /** Cordons or uncordons a replica at all servers. Rejects with `server_unreachable` if no server responds. */
  set(
    id: ReplicaId,
    change: Pick<Cordon, 'cordoned' | 'reason'>,
    options: ApiRequestOptions = {},
  ): Promise<AllResponses<CordonOutcome>> {
    return this.#servers.askAll(options, (server, signal) => this.#setAt(server, id, change, signal));
  }

  async #setAt(
    server: ServerAddress,
    id: ReplicaId,
    { cordoned, reason }: Pick<Cordon, 'cordoned' | 'reason'>,
    signal: AbortSignal,
  ): Promise<CordonOutcome> {
    const path = `/replicas/${encodeURIComponent(id.toWellFormed())}/cordon`;
    const response = await this.#servers.send(server, {
      method: cordoned ? 'PUT' : 'DELETE',
      path,
      target: `${trimTrailingSlashes(new URL(server.url).pathname)}${path}`,
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
      ...(cordoned && { headers: { 'content-type': 'application/json' }, body: JSON.stringify({ reason }) }),
    });
    const text = await this.#servers.readError(response, API_RESPONSE_TIMEOUT_MS);
    const done = response.status === 200 ? parseCordonResponse(text) : undefined;
    if (done) return { kind: 'done', ...done };
    if (response.status !== 404) return { kind: 'refused', error: toUnexpectedResponseError(server, response, text) };
    return { kind: 'refused', error: toNotFoundError(server, parseErrorDetail(text)) };
  }
}

function toNotFoundError({ name }: ServerAddress, detail = UNKNOWN_PATH_DETAIL): AnyserveError {
  if (detail !== UNKNOWN_PATH_DETAIL) return new AnyserveError('no_match', `${detail} with ${name}`);
  return new AnyserveError('failed', `${name} has no cordons: it is an older version, or another program`);
}
