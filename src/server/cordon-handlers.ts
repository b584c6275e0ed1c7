import type { Request, Response } from 'express';
import { parseCordonRequest, serializeCordonResponse } from '../api/cordon-json.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { serializeValidationIssues } from '../api/validation-issues.js';
import type { Cordon } from '../core/cordon.js';
import { toHttpStatus } from '../core/errors.js';
import { asReplicaId, type ReplicaId } from '../core/ids.js';
import type { RegistryAccess } from '../core/registry-access.js';
import type { BodyMemory } from '../http/body-memory.js';
import { RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { parseTarget } from '../http/request-head.js';
import { detachString } from '../json/string-memory.js';
import { type AuthorizedHandler, checkIdPrefix } from './authorization.js';
import { createErrorResponse, sendError } from './error-response.js';
import { readRequestText } from './request-text.js';

/** Maximum size of a request to cordon a replica, in bytes. */
const MAX_CORDON_BYTES = 4096;

/** The part of a registry that the handlers use. */
type CordonRegistry = Pick<RegistryAccess<SerializedReplica>, 'cordons' | 'find'>;

/** Creates the handler of `PUT /replicas/{id}/cordon`. From then on no calls are routed to the replica. */
export function createCordonHandler(registry: CordonRegistry, bodies: BodyMemory): AuthorizedHandler {
  return async (request, response, _next, prefixes) => {
    const id = parseCordonedId(request);
    const prefixProblem = checkIdPrefix(prefixes, id, 'cordon');
    if (prefixProblem !== undefined) return sendError(response, 'permission_denied', prefixProblem);
    const options = { name: 'request', maxBytes: MAX_CORDON_BYTES, bodies };
    const text = await readRequestText(request, response, options);
    if (text === undefined) return;
    const outcome = parseCordonRequest(text);
    if (outcome.kind === 'invalid') {
      return sendJson(response, toHttpStatus('unprocessable'), serializeValidationIssues(outcome.issues));
    }
    await setCordon(registry, response, id, { cordoned: true, reason: outcome.reason });
  };
}

/** Creates the handler of `DELETE /replicas/{id}/cordon`. From then on calls are routed to the replica again. */
export function createUncordonHandler(registry: CordonRegistry): AuthorizedHandler {
  return async (request, response, _next, prefixes) => {
    const id = parseCordonedId(request);
    const prefixProblem = checkIdPrefix(prefixes, id, 'uncordon');
    if (prefixProblem !== undefined) return sendError(response, 'permission_denied', prefixProblem);
    await setCordon(registry, response, id, { cordoned: false, reason: '' });
  };
}

async function setCordon(
  registry: CordonRegistry,
  response: Response,
  id: ReplicaId,
  change: Pick<Cordon, 'cordoned' | 'reason'>,
): Promise<void> {
  const cordon = await registry.cordons.set(id, change);
  if (cordon === 'unknown') {
    return sendError(response, 'not_found', `no replica with the id ${JSON.stringify(id)} is registered`);
  }
  if (cordon === 'too_soon') return sendTooSoon(response);
  const isRepeated = isRepeatedByReplica(registry, id);
  sendJson(response, 200, serializeCordonResponse(id, { cordon, isRepeated }));
}

/**
 * Returns whether the replica's process repeats the cordon to other and restarted servers: one that renews a two-way lease
 * and reports its instance. Otherwise the cordon ends with this server.
 */
function isRepeatedByReplica(registry: CordonRegistry, id: ReplicaId): boolean {
  const { registration, lease } = registry.find(id) ?? {};
  // The terms of a lease that another server granted are unknown.
  return registration?.instance !== undefined && (lease === undefined || lease.ttlMs !== undefined);
}

const sendTooSoon = createErrorResponse(
  'resource_exhausted',
  'a replica with many capabilities cannot be uncordoned again so soon',
  RETRY_LATER_HEADERS,
);

/** The path of a replica's cordon, for express. It has no group, because express would decode the group. */
export const CORDON_PATH = /^\/replicas\/[^/]+\/cordon$/;

/** Returns the replica id in the path. Throws `URIError` if it can't be decoded, as in `%zz`. */
function parseCordonedId(request: Request): ReplicaId {
  const { path } = parseTarget(request.url);
  return asReplicaId(detachString(decodeURIComponent(path.slice('/replicas/'.length, -'/cordon'.length))));
}
