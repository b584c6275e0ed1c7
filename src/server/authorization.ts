import type { NextFunction, Request, Response } from 'express';
import type { ReplicaId } from '../core/ids.js';
import { hashToken, parseBearerToken, type TokenSet } from '../credentials/token-set.js';
import { getHeaderValues } from '../http/request-head.js';

/** The tokens that an API server asks for, as they are now; without those of a kind its door is open. */
export interface AccessTokens {
  /** Those that may register replicas, and ask. */
  readonly register?: (() => TokenSet) | undefined;
  /** Those that may ask. */
  readonly read?: (() => TokenSet) | undefined;
}

/** What a request wants to do: to ask, or to change what is registered. */
export type Access = 'read' | 'register';

/** Whether a request may; if so, how the ids begin that it may register. */
export type AccessDecision =
  | { readonly kind: 'granted'; readonly prefixes: readonly string[] }
  | { readonly kind: 'refused'; readonly detail: string };

/** What is decided where no token is asked for. */
export const OPEN_ACCESS: AccessDecision = { kind: 'granted', prefixes: [''] };

/** Handles a request that may, and is told how the ids begin that it may register. */
export type AuthorizedHandler = (
  request: Request,
  response: Response,
  next: NextFunction,
  prefixes: readonly string[],
) => unknown;

/** Decides by the `authorization` headers of a request. */
export function authorize(access: Access, headers: readonly string[], tokens: AccessTokens): AccessDecision {
  if (!tokens[access]) return OPEN_ACCESS;
  const shown = parseBearerToken(headers);
  const needed = access === 'register' ? 'a register token' : 'a read token or a register token';
  if (shown === undefined) return { kind: 'refused', detail: `this needs ${needed}: Authorization: Bearer TOKEN` };
  const digest = hashToken(shown);
  const prefixes = [tokens.register, access === 'read' ? tokens.read : undefined].flatMap(
    (known) => known?.().findPrefixes(digest) ?? [],
  );
  if (prefixes.length > 0) return { kind: 'granted', prefixes };
  return { kind: 'refused', detail: `this needs ${needed}, and the token shown is none` };
}

/** What is wrong with registering an id, when it does not begin as one of these; undefined when it may be registered. */
export function checkIdPrefix(prefixes: readonly string[], id: ReplicaId): string | undefined {
  if (prefixes.some((prefix) => id.startsWith(prefix))) return undefined;
  const allowed = prefixes.map((prefix) => JSON.stringify(prefix)).join(' or ');
  return `this token may only register ids that begin with ${allowed}, not ${JSON.stringify(id)}`;
}

/** Decides whether a request has access. */
export function authorizeRequest(access: Access, request: Request, tokens: AccessTokens): AccessDecision {
  return tokens[access] ? authorize(access, getHeaderValues(request.rawHeaders, 'authorization'), tokens) : OPEN_ACCESS;
}
