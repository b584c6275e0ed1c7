import { AnyserveError } from './errors.js';
import { type Host, isUnspecifiedHost, parseHost } from './host.js';
import { asEndpoint, type Endpoint } from './ids.js';
import { quote } from './quoting.js';

/**
 * What an endpoint says. `http` is a URL, of a server that speaks HTTP. A `tcp` one without a port is a name that callers have
 * to know the port of.
 */
export type EndpointParts =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly written: string; readonly host: Host; readonly port: number | undefined }
  | { readonly kind: 'http'; readonly written: string; readonly host: Host; readonly port: number };

const UNIX = /^unix:([^\s\p{Cc}\p{Cs}]+)$/u;
const URL_TEXT = /^https?:\/\/[^\s\p{Cc}\p{Cs}\\/][^\s\p{Cc}\p{Cs}\\]*$/iu;

/** The schemes of gRPC targets that name one host: `dns:host:1`, `dns:///host:1`, `ipv4:10.0.0.1:1`, `ipv6:[::1]:1`. */
const TARGET = /^(dns:(?:\/\/\/)?|ipv4:|ipv6:)(.+)$/u;

/** A host, in brackets where it has colons, with or without a port. */
const AUTHORITY = /^(\[[^\]]*\]|[^:[\]]+)(?::(\d{1,5}))?$/u;

/** The address families that a scheme promises. */
const FAMILIES: Readonly<Record<string, Host['kind']>> = { 'ipv4:': 'IPv4', 'ipv6:': 'IPv6' };

/**
 * Reads an endpoint: `host:port`, `[v6]:port`, `unix:PATH`, `dns:host:port`, `dns:///host:port`, `ipv4:`, `ipv6:`, an
 * `http://` or `https://` URL, or a name alone. Undefined for anything else, which could tell the gRPC library of a caller more
 * than where to call: a list, a name server, another scheme.
 */
export function parseEndpoint(text: string): EndpointParts | undefined {
  const path = UNIX.exec(text)?.[1];
  if (path !== undefined) return { kind: 'unix', path };
  if (URL_TEXT.test(text)) return parseUrl(text);
  const [, scheme = '', rest = ''] = TARGET.exec(text) ?? [];
  const target = scheme === '' ? undefined : parseAuthority(rest);
  // `dns:80` can also be a machine called dns.
  if (!target || (target.port === undefined && FAMILIES[scheme] === undefined)) return parseAuthority(text) ?? target;
  return FAMILIES[scheme] === undefined || isOfFamily(rest, FAMILIES[scheme]) ? target : undefined;
}

function parseUrl(text: string): EndpointParts | undefined {
  if (!URL.canParse(text)) return undefined;
  const { hostname, port, protocol, username, password } = new URL(text);
  const host = parseHost(hostname);
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  // A password would be shown to everyone who asks.
  if (!host || number === 0 || username !== '' || password !== '') return undefined;
  return { kind: 'http', written: hostname.replace(/^\[|\]$/g, ''), host, port: number };
}

function parseAuthority(text: string): Extract<EndpointParts, { kind: 'tcp' }> | undefined {
  const [, written = '', digits] = AUTHORITY.exec(text) ?? [];
  const host = parseHost(written);
  const port = digits === undefined ? undefined : Number(digits);
  if (!host || (port !== undefined && (port < 1 || port > 65535))) return undefined;
  return { kind: 'tcp', written: written.replace(/^\[|\]$/g, ''), host, port };
}

/** Whether an address has the form that its scheme asks for; a mapped one has that of IPv6. */
function isOfFamily(rest: string, family: Host['kind']): boolean {
  const kind = rest.startsWith('[') ? 'IPv6' : parseAuthority(rest)?.host.kind;
  return kind === family;
}

const FORMS = 'give HOST:PORT, [IPV6]:PORT, unix:PATH or an http:// URL';
const EVERY_ADDRESS =
  'it names every address of its machine and none that others can call; give a host name or one address';

/** Why an endpoint may not be registered; undefined when it may. */
export function findEndpointProblem(text: string): string | undefined {
  return problemOf(parseEndpoint(text));
}

function problemOf(parts: EndpointParts | undefined): string | undefined {
  if (!parts) return `nobody can dial it; ${FORMS}`;
  return parts.kind !== 'unix' && isUnspecifiedHost(parts.host) ? EVERY_ADDRESS : undefined;
}

/** Whether an endpoint leaves its port for callers to know. The Python server takes such names. */
export function lacksPort(parts: EndpointParts): boolean {
  return parts.kind === 'tcp' && parts.port === undefined;
}

/** Reads an endpoint that a gRPC client can dial. Throws `usage`, for a URL too: behind that is HTTP. */
export function parseDialable(text: string): Endpoint {
  const parts = parseEndpoint(text);
  if (parts?.kind === 'http') {
    const advice = 'and calls to it are made over gRPC; give its gRPC port as HOST:PORT';
    throw new AnyserveError('usage', `${quote(text)} is the URL of an HTTP server, ${advice}`);
  }
  if (parts && (parts.kind === 'unix' || parts.port !== undefined)) return asEndpoint(text);
  throw new AnyserveError('usage', `${quote(text)} is not an endpoint; give HOST:PORT, [IPV6]:PORT or unix:PATH`);
}

/**
 * Reads an endpoint to register: one with a port, or a URL, and not an address that means something to a listener only
 * (`0.0.0.0`, `[::]`). Throws `usage`.
 */
export function parseAdvertised(text: string): Endpoint {
  const parts = parseEndpoint(text);
  const problem = problemOf(parts) ?? (parts && lacksPort(parts) ? 'it has no port; give HOST:PORT' : undefined);
  if (problem === undefined) return asEndpoint(text);
  throw new AnyserveError('usage', `${quote(text)} is not an endpoint to register: ${problem}`);
}

/** Reads an endpoint that gRPC clients are told to dial: {@link parseAdvertised}, but for URLs. Throws `usage`. */
export function parseAdvertisedGrpc(text: string): Endpoint {
  return parseDialable(parseAdvertised(text));
}

/** Where an endpoint leads that has a port: a host and a port, or a path. Throws `usage` for another. */
export function toSocketAddress(endpoint: Endpoint): { host: string; port: number } | { path: string } {
  const parts = parseEndpoint(endpoint);
  if (parts?.kind === 'unix') return { path: parts.path };
  if (parts?.port !== undefined) return { host: parts.written, port: parts.port };
  throw new AnyserveError('usage', `${quote(endpoint)} has no port; give HOST:PORT`);
}

/** An endpoint as a gRPC library is told it, so that no host is taken for a scheme: `dns:80` is port 80 of a host called dns. */
export function toGrpcTarget(endpoint: Endpoint): string {
  const address = toSocketAddress(endpoint);
  if ('path' in address) return endpoint;
  return `dns:///${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}
