import { AnyserveError } from './errors.js';
import { type Host, isLoopback, isLoopbackHost, isUnspecifiedHost, parseHost } from './host.js';
import { asEndpoint, type Endpoint } from './ids.js';
import { quote } from './quoting.js';

/**
 * A parsed endpoint. `http` is the URL of an HTTP server. A `tcp` endpoint without a port is a name whose port callers must
 * know.
 */
export type EndpointParts =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly hostText: string; readonly host: Host; readonly port: number | undefined }
  | { readonly kind: 'http'; readonly hostText: string; readonly host: Host; readonly port: number };

const UNIX = /^unix:([^\s\p{Cc}\p{Cs}]+)$/u;
const URL_TEXT = /^https?:\/\/[^\s\p{Cc}\p{Cs}\\/][^\s\p{Cc}\p{Cs}\\]*$/iu;

/** The schemes of gRPC targets that name one host: `dns:host:1`, `dns:///host:1`, `ipv4:10.0.0.1:1`, `ipv6:[::1]:1`. */
const TARGET = /^(dns:(?:\/\/\/)?|ipv4:|ipv6:)(.+)$/u;

/** A host with an optional port. A host with colons is in brackets. */
const AUTHORITY = /^(\[[^\]]*\]|[^:[\]]+)(?::(\d{1,5}))?$/u;

/** The address family that a scheme requires. */
const FAMILIES: Readonly<Record<string, Host['kind']>> = { 'ipv4:': 'IPv4', 'ipv6:': 'IPv6' };

/**
 * Parses an endpoint: `host:port`, `[v6]:port`, `unix:PATH`, `dns:host:port`, `dns:///host:port`, `ipv4:`, `ipv6:`, an
 * `http://` or `https://` URL, or a name alone. Returns undefined for anything else. Other gRPC targets are rejected because they
 * can make a caller's gRPC library do more than dial one host: they can name a list, a name server or another scheme.
 */
export function parseEndpoint(text: string): EndpointParts | undefined {
  const path = UNIX.exec(text)?.[1];
  if (path !== undefined) return { kind: 'unix', path };
  if (URL_TEXT.test(text)) return parseUrl(text);
  const [, scheme = '', rest = ''] = TARGET.exec(text) ?? [];
  const target = scheme === '' ? undefined : parseAuthority(rest);
  // `dns:80` can also be port 80 of a host called "dns".
  if (!target || (target.port === undefined && FAMILIES[scheme] === undefined)) return parseAuthority(text) ?? target;
  return FAMILIES[scheme] === undefined || isOfFamily(rest, FAMILIES[scheme]) ? target : undefined;
}

function parseUrl(text: string): EndpointParts | undefined {
  if (!URL.canParse(text)) return undefined;
  const { hostname, port, protocol, username, password } = new URL(text);
  const host = parseHost(hostname);
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  // Endpoints are public, so credentials in a URL are rejected.
  if (!host || number === 0 || username !== '' || password !== '') return undefined;
  return { kind: 'http', hostText: hostname.replace(/^\[|\]$/g, ''), host, port: number };
}

function parseAuthority(text: string): Extract<EndpointParts, { kind: 'tcp' }> | undefined {
  const [, hostText = '', digits] = AUTHORITY.exec(text) ?? [];
  const host = parseHost(hostText);
  const port = digits === undefined ? undefined : Number(digits);
  if (!host || (port !== undefined && (port < 1 || port > 65535))) return undefined;
  return { kind: 'tcp', hostText: hostText.replace(/^\[|\]$/g, ''), host, port };
}

/** Returns whether an address is of the family that its scheme requires. An IPv4-mapped address counts as IPv6. */
function isOfFamily(rest: string, family: Host['kind']): boolean {
  const kind = rest.startsWith('[') ? 'IPv6' : parseAuthority(rest)?.host.kind;
  return kind === family;
}

const FORMS = 'give HOST:PORT, [IPV6]:PORT, unix:PATH or an http:// URL';
const UNSPECIFIED =
  'it means every address of its own machine, and other machines cannot call it; give a host name or one address';

/** Returns why an endpoint cannot be registered; undefined if it can. */
export function findEndpointProblem(text: string): string | undefined {
  return findProblem(parseEndpoint(text));
}

function findProblem(parts: EndpointParts | undefined): string | undefined {
  if (!parts) return `callers cannot dial it; ${FORMS}`;
  return parts.kind !== 'unix' && isUnspecifiedHost(parts.host) ? UNSPECIFIED : undefined;
}

/** Returns whether an endpoint has no port. The Python server accepts such endpoints. */
export function lacksPort(parts: EndpointParts): boolean {
  return parts.kind === 'tcp' && parts.port === undefined;
}

/** Parses an endpoint that a gRPC client can dial. Throws `usage`, including for the URL of an HTTP server. */
export function parseDialable(text: string): Endpoint {
  const parts = parseEndpoint(text);
  if (parts?.kind === 'http') {
    const advice = 'but calls use gRPC; give its gRPC port as HOST:PORT';
    throw new AnyserveError('usage', `${quote(text)} is the URL of an HTTP server, ${advice}`);
  }
  if (parts && (parts.kind === 'unix' || parts.port !== undefined)) return asEndpoint(text);
  throw new AnyserveError('usage', `${quote(text)} is not an endpoint; give HOST:PORT, [IPV6]:PORT or unix:PATH`);
}

/**
 * Parses an endpoint to register. It must have a port or be a URL. Addresses that are valid only for listening (`0.0.0.0`,
 * `[::]`) are rejected. Throws `usage`.
 */
export function parseAdvertised(text: string): Endpoint {
  const parts = parseEndpoint(text);
  const problem = findProblem(parts) ?? (parts && lacksPort(parts) ? 'it has no port; give HOST:PORT' : undefined);
  if (problem === undefined) return asEndpoint(text);
  throw new AnyserveError('usage', `${quote(text)} is not an endpoint to register: ${problem}`);
}

/** Parses an endpoint to register for gRPC clients: like {@link parseAdvertised}, but rejects URLs. Throws `usage`. */
export function parseAdvertisedGrpc(text: string): Endpoint {
  return parseDialable(parseAdvertised(text));
}

/** Returns the socket address of an endpoint: host and port, or a path. Throws `usage` if it has no port. */
export function toSocketAddress(endpoint: Endpoint): { host: string; port: number } | { path: string } {
  const parts = parseEndpoint(endpoint);
  if (parts?.kind === 'unix') return { path: parts.path };
  if (parts?.port !== undefined) return { host: parts.hostText, port: parts.port };
  throw new AnyserveError('usage', `${quote(endpoint)} has no port; give HOST:PORT`);
}

/** Formats a host and a port, as in URLs: an IPv6 address has brackets. */
export function formatAuthority(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Returns why callers probably cannot reach an endpoint that a peer registers; undefined if it looks reachable. */
export function getEndpointWarning(endpoint: Endpoint, peer: string): string | undefined {
  const parts = parseEndpoint(endpoint);
  if (!parts) return undefined;
  const isLocal = parts.kind === 'unix' || isLoopbackHost(parts.host);
  if (isLocal && !isLoopback(peer))
    return 'for callers this address means their own machine; register an address that they can reach';
  return lacksPort(parts) ? 'it has no port; register HOST:PORT' : undefined;
}

/** Returns whether {@link parseDialable} accepts an endpoint. */
export function isDialable(endpoint: string): boolean {
  try {
    parseDialable(endpoint);
    return true;
  } catch {
    return false;
  }
}
