import type { RequestHandler } from 'express';
import type { CapabilityQuery } from '../core/capability.js';
import type { ReplicaId } from '../core/ids.js';
import { RecentMap } from '../core/recent-map.js';
import type { Registry } from '../core/registry.js';
import { NO_MATCH, WARMING_HEADER } from '../wire/answers.js';
import { ownText, ownTexts } from '../wire/own-text.js';
import { EXCLUDE_HEADER, excludedFromHeader, MAX_EXCLUDED, queryFromSearch } from '../wire/query.js';
import { routeBytes } from '../wire/written-replica.js';
import { failureAnswer, jsonHeaders } from './answer.js';
import { headerValues } from './raw-headers.js';
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
  const queryOf = remembering((target) => queryFromSearch(parseTarget(target).search));
  return (request, response) => {
    const named = headerValues(request.rawHeaders, EXCLUDE_HEADER);
    const excluded = named.length === 0 ? [] : excludedFromHeader(utf8(named.join()));
    if (!excluded) return answerTooManyExcluded(response);
    const replica = registry.route(queryOf(request.url), excluded.length === 0 ? NOBODY : new Set(excluded));
    if (!replica) return isWarming() ? answerNoMatchYet(response) : answerNoMatch(response);
    const bytes = routeBytes(replica);
    response.writeHead(200, headersFor(bytes.length)).end(bytes, 'latin1');
  };
}

const headersByLength: string[][] = [];

/** The headers of an answer of so many bytes, as Node takes them fastest. */
function headersFor(length: number): string[] {
  headersByLength[length] ??= jsonHeaders(length);
  return headersByLength[length];
}

/**
 * A reader that remembers what it has read lately. What is kept must not be a part of a long text, all of which it would keep:
 * a short target may be the end of a whole URL, and the query of a long one, not remembered here, may be kept by the index.
 */
function remembering(read: (text: string) => CapabilityQuery): (text: string) => CapabilityQuery {
  const known = new RecentMap<string, CapabilityQuery>(MOST_REMEMBERED);
  return (text) => {
    const remembered = known.get(text);
    if (remembered) return remembered;
    if (text.length > LONGEST_REMEMBERED) return ownTexts(read(text));
    const query = read(text);
    known.set(ownText(text), query);
    return query;
  };
}

const answerTooManyExcluded = failureAnswer(
  'usage',
  `${EXCLUDE_HEADER} names more than ${MAX_EXCLUDED} replicas; give at most ${MAX_EXCLUDED}`,
);
const answerNoMatch = failureAnswer('no_match', NO_MATCH);
const answerNoMatchYet = failureAnswer('no_match', NO_MATCH, { 'retry-after': '1', [WARMING_HEADER]: '1' });

/** A header's text: Node hands each byte of it on as one character. */
function utf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
