import type { NextFunction, Request, Response } from 'express';
import type { ReplicaId } from '../core/ids.js';
import { hashToken, parseBearerToken, type TokenSet } from '../credentials/token-set.js';
import { getHeaderValues } from '../http/request-head.js';

/** Getters of the tokens that an API server accepts at the moment. A kind of access without tokens is open to everyone. */
export interface AccessTokens {
  /** Tokens that can register replicas and read. */
  readonly register?: (() => TokenSet) | undefined;
  /** Tokens that can only read. */
  readonly read?: (() => TokenSet) | undefined;
}

/** The kind of access that a request needs: to read the registry, or to change it. */
export type Access = 'read' | 'register';

/** Whether a request has access. If granted, it can register ids that begin with one of the prefixes. */
export type AccessDecision =
  | { readonly kind: 'granted'; readonly prefixes: readonly string[] }
  | { readonly kind: 'refused'; readonly detail: string };

/** The decision when no token is required: every id can be registered. */
export const OPEN_ACCESS: AccessDecision = { kind: 'granted', prefixes: [''] };

/** Handles a request that has access. `prefixes` are the beginnings of the ids that it can register. */
export type AuthorizedHandler = (
  request: Request,
  response: Response,
  next: NextFunction,
  prefixes: readonly string[],
) => unknown;

/** Decides on access by the values of a request's `authorization` headers. */
export function authorize(access: Access, headers: readonly string[], tokens: AccessTokens): AccessDecision {
  if (!tokens[access]) return OPEN_ACCESS;
  const token = parseBearerToken(headers);
  const needed = access === 'register' ? 'a register token' : 'a read token or a register token';
  if (token === undefined) {
    return { kind: 'refused', detail: `this request needs ${needed}: send Authorization: Bearer TOKEN` };
  }
  const digest = hashToken(token);
  const prefixes = [tokens.register, access === 'read' ? tokens.read : undefined].flatMap(
    (getTokens) => getTokens?.().findPrefixes(digest) ?? [],
  );
  if (prefixes.length > 0) return { kind: 'granted', prefixes };
  return { kind: 'refused', detail: `unknown token: this request needs ${needed}` };
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
  return tokens[access] ? authorize(access, getHeaderValues(request.rawHeaders, 'authorization'), tokens) : OPEN_ACCESS;
}
