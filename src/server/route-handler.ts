import type { RequestHandler } from 'express';
import type { CapabilityQuery } from '../core/capability.js';
import type { ReplicaId } from '../core/ids.js';
import type { Registry } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import { NO_MATCH, routeText, WARMING_HEADER } from '../wire/answers.js';
import { EXCLUDE_HEADER, excludedFromHeader, MAX_EXCLUDED, queryFromSearch } from '../wire/query.js';
import { sendFailure } from './answer.js';
import { parseTarget } from './request-target.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** So many queries are remembered as they were read, by the text they were read from, if that is not long. */
const MOST_REMEMBERED = 4096;
const LONGEST_REMEMBERED = 256;

/**
 * `GET /route`: one replica that can do what the query asks for. It is asked before every call of a fleet. A miss of a
 * server that is warming says so.
 */
export function routeHandler(registry: Registry, isWarming: () => boolean): RequestHandler {
  const queryFrom = remembering(queryFromSearch);
  const answers = new WeakMap<Replica, { readonly body: string; readonly headers: Record<string, string | number> }>();

  /** The answer that a replica is, made once for all who get it. */
  function answerOf(replica: Replica) {
    let answer = answers.get(replica);
    if (!answer) {
      const body = routeText(replica);
      const headers = { 'content-length': Buffer.byteLength(body), 'content-type': 'application/json' };
      answer = { body, headers };
      answers.set(replica, answer);
    }
    return answer;
  }

  return (request, response) => {
    const header = request.headers[EXCLUDE_HEADER];
    const excluded = header === undefined ? NOBODY : new Set(excludedFromHeader(utf8(String(header))));
    if (excluded.size > MAX_EXCLUDED) {
      const advice = `${EXCLUDE_HEADER} names ${excluded.size} replicas; give at most ${MAX_EXCLUDED}`;
      return sendFailure(response, 'usage', advice);
    }
    const replica = registry.route(queryFrom(parseTarget(request.url).search), excluded);
    if (!replica) return sendFailure(response, 'no_match', NO_MATCH, isWarming() ? WARMING : {});
    const { body, headers } = answerOf(replica);
    response.writeHead(200, headers).end(body);
  };
}

/** A reader that remembers what it has read lately. */
function remembering(read: (text: string) => CapabilityQuery): (text: string) => CapabilityQuery {
  const known = new Map<string, CapabilityQuery>();
  return (text) => {
    const remembered = known.get(text);
    if (remembered) return remembered;
    const query = read(text);
    if (text.length <= LONGEST_REMEMBERED) known.set(text, query);
    const [oldest] = known.keys();
    if (oldest !== undefined && known.size > MOST_REMEMBERED) known.delete(oldest);
    return query;
  };
}

const WARMING = { 'retry-after': '1', [WARMING_HEADER]: '1' };

/** A header's text: Node hands each byte of it on as one character. */
function utf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
