import type { NextFunction, Request, Response } from 'express';
import { FORWARDED_HEADER, parseScopeHeader, SCOPE_HEADER } from '../api/lease-owner.js';
import type { TokenUse } from '../api/registration.js';
import type { ReplicaId } from '../core/ids.js';
import { quote } from '../core/quoting.js';
import { WHOLE_REGISTRY } from '../core/scope.js';
import { hashToken, parseBearerToken, type TokenGrant, type TokenSet } from '../credentials/token-set.js';
import { getHeaderValues } from '../http/request-head.js';

/** Getters of the tokens that an API server accepts at the moment. A kind of access without tokens is open to everyone. */
export interface AccessTokens {
  /** Tokens that can register replicas and read. */
  readonly register?: (() => TokenSet) | undefined;
  /** Tokens that can only read. */
  readonly read?: (() => TokenSet) | undefined;
  /** Tokens of the other API servers, which forward requests for leases. */
  readonly peer?: (() => TokenSet) | undefined;
}

/** The kind of access that a request needs: to read the registry, or to change it. */
export type Access = 'read' | 'register';

/**
 * Whether a request has access. If granted, it can register ids that begin with one of the prefixes, and see and register the
 * capability objects in the scope.
 */
export type AccessDecision =
  | ({ readonly kind: 'granted' } & TokenGrant)
  | { readonly kind: 'refused'; readonly detail: string };

/** The decision when no token is required: everything can be seen and registered. */
export const OPEN_ACCESS: AccessDecision = { kind: 'granted', prefixes: [''], scope: WHOLE_REGISTRY };

/** Handles a request that has access. `prefixes` are the beginnings of the ids that it can register. */
export type AuthorizedHandler = (
  request: Request,
  response: Response,
  next: NextFunction,
  prefixes: readonly string[],
) => unknown;

/** Decides on access by the values of a request's `authorization` headers. */
export function authorize(access: Access, headers: readonly string[], tokens: AccessTokens): AccessDecision {
  if (!needsToken(access, tokens)) return OPEN_ACCESS;
  const token = parseBearerToken(headers);
  const needed = access === 'register' ? 'a register token' : 'a read token or a register token';
  if (token === undefined) {
    return { kind: 'refused', detail: `this request needs ${needed}: send Authorization: Bearer TOKEN` };
  }
  const digest = hashToken(token);
  // The file for this kind of access has the last word about a token that is in both.
  const grant =
    (access === 'read' ? tokens.read?.().findGrant(digest) : undefined) ?? tokens.register?.().findGrant(digest);
  return grant
    ? { kind: 'granted', ...grant }
    : { kind: 'refused', detail: `unknown token: this request needs ${needed}` };
}

/**
 * Returns whether a kind of access needs a token. Reading needs one as soon as a register token is limited to a part of the
 * registry: its holder could read the rest by leaving the token out.
 */
export function needsToken(access: Access, { register, read }: AccessTokens): boolean {
  if (access === 'register') return register !== undefined;
  return read !== undefined || (register !== undefined && register().scopes.length > 0);
}

/** Returns why an id can't be registered, or cordoned, if it begins with none of the prefixes. Undefined if it can. */
export function checkIdPrefix(
  prefixes: readonly string[],
  id: ReplicaId,
  action: 'register' | 'cordon' | 'uncordon' = 'register',
): string | undefined {
  if (prefixes.some((prefix) => id.startsWith(prefix))) return undefined;
  const allowed = prefixes.map((prefix) => JSON.stringify(prefix)).join(' or ');
  return `this token may only ${action} ids that begin with ${allowed}, not ${JSON.stringify(id)}`;
}

/** Decides whether a request has access. It doesn't read the headers if no token is required. */
export function authorizeRequest(access: Access, request: Request, tokens: AccessTokens): AccessDecision {
  if (!needsToken(access, tokens)) return OPEN_ACCESS;
  return authorize(access, getHeaderValues(request.rawHeaders, 'authorization'), tokens);
}

/** Returns what the token of a request can be used for. Undefined without a token, and at a server that has none. */
export function findTokenUse({ rawHeaders }: Pick<Request, 'rawHeaders'>, tokens: AccessTokens): TokenUse | undefined {
  const token = parseBearerToken(getHeaderValues(rawHeaders, 'authorization'));
  if (token === undefined || !(tokens.register || tokens.read)) return undefined;
  const digest = hashToken(token);
  if (tokens.register?.().findGrant(digest)) return 'register';
  return tokens.read?.().findGrant(digest) ? 'read' : 'unknown';
}

/**
 * Decides on access for a request that another API server has forwarded: it has the header of such requests, and a peer token. That
 * server has checked the token of the replica, and sends its scope. Returns undefined for any other request.
 */
export function authorizePeer({ headers, rawHeaders }: Request, { peer }: AccessTokens): AccessDecision | undefined {
  if (!peer || headers[FORWARDED_HEADER] === undefined) return undefined;
  const token = parseBearerToken(getHeaderValues(rawHeaders, 'authorization'));
  if (token === undefined || !peer().findGrant(hashToken(token))) return undefined;
  const text = headers[SCOPE_HEADER]?.toString();
  const scope = text === undefined ? WHOLE_REGISTRY : parseScopeHeader(text);
  if (scope) return { kind: 'granted', prefixes: [''], scope };
  return { kind: 'refused', detail: `the header ${SCOPE_HEADER} is not a JSON array of pairs: ${quote(text ?? '')}` };
}
