import type { RequestHandler } from 'express';
import type { Registry } from '../core/registry.js';
import { NO_MATCH, routeText, WARMING_HEADER } from '../wire/answers.js';
import { EXCLUDE_HEADER, excludedFromHeader, MAX_EXCLUDED, queryFromSearch } from '../wire/query.js';
import { sendFailure, sendJson } from './answer.js';
import { parseTarget } from './request-target.js';

/** `GET /route`: one replica that can do what the query asks for. A miss of a server that is warming says so. */
export function routeHandler(registry: Registry, isWarming: () => boolean): RequestHandler {
  return (request, response) => {
    const excluded = excludedFromHeader(utf8(request.get(EXCLUDE_HEADER) ?? ''));
    if (excluded.length > MAX_EXCLUDED) {
      return sendFailure(
        response,
        'usage',
        `${EXCLUDE_HEADER} names ${excluded.length} replicas; give at most ${MAX_EXCLUDED}`,
      );
    }
    const replica = registry.route(queryFromSearch(parseTarget(request.url).search), new Set(excluded));
    if (!replica) return sendFailure(response, 'no_match', NO_MATCH, isWarming() ? WARMING : {});
    sendJson(response, 200, routeText(replica));
  };
}

const WARMING = { 'retry-after': '1', [WARMING_HEADER]: '1' };

/** A header's text: Node hands each byte of it on as one character. */
function utf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
