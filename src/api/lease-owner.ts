import { AnyserveError } from '../core/errors.js';
import { isUnspecifiedHost, parseHost } from '../core/host.js';
import { quote } from '../core/quoting.js';
import { createScope, type Scope } from '../core/scope.js';

/** Response header of a granted lease with the URL of the API server that granted it. */
export const OWNER_HEADER = 'x-anyserve-owner';

/** Request header of a request for a lease that another API server has forwarded. It is never forwarded again. */
export const FORWARDED_HEADER = 'x-anyserve-forwarded';

/** Status with which a server that is not the owner responds to a forwarded request: Misdirected Request (RFC 9110, section 15.5.20). */
export const MISDIRECTED_STATUS = 421;

/** Request header of a forwarded request: the part of the registry that the token of the original request can use. */
export const SCOPE_HEADER = 'x-anyserve-scope';

/** Maximum length of the URL of an API server, in UTF-16 units. */
const MAX_URL_LENGTH = 1024;

/**
 * Parses the URL of an API server that another server reports. Returns undefined for anything else, and for a URL that contains a
 * password, or an address that is only valid for listening.
 */
export function parseOwnerUrl(text: unknown): URL | undefined {
  if (typeof text !== 'string' || text.length > MAX_URL_LENGTH || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isHttp = url.protocol === 'http:' || url.protocol === 'https:';
  if (!isHttp || url.username || url.password || url.search || url.hash) return undefined;
  const host = parseHost(url.hostname);
  return host && !isUnspecifiedHost(host) && url.port !== '0' ? url : undefined;
}

/** Formats the value of {@link SCOPE_HEADER}: a JSON array of pairs, with escapes for all but ASCII, such as `[["tenant","a"]]`. */
export function formatScopeHeader({ key }: Scope): string {
  return key.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Parses the value of {@link SCOPE_HEADER}. Returns undefined if it is not valid. */
export function parseScopeHeader(text: string): Scope | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return Array.isArray(value) && value.length > 0 && value.every(isPair) ? createScope(value) : undefined;
}

function isPair(value: unknown): value is readonly [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string');
}

/** Formats the URL of an API server without a slash at the end. */
export function formatOwnerUrl({ origin, pathname }: URL): string {
  return `${origin}${pathname.replace(/\/+$/, '')}`;
}

/** Parses the URL that an API server reports of itself. Throws `usage`. */
export function parseAdvertisedUrl(text: string, usesTls: boolean): string {
  const url = parseOwnerUrl(text);
  if (!url) {
    const advice = 'give a URL such as http://10.0.0.1:8080 (an IPv6 address needs brackets)';
    throw new AnyserveError('usage', `${quote(text)} is not a URL at which others reach this API server; ${advice}`);
  }
  if (usesTls && url.protocol === 'http:') {
    throw new AnyserveError('usage', `this API server uses TLS, so ${quote(text)} must begin with https://`);
  }
  return formatOwnerUrl(url);
}
