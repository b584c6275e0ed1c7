/** The canonical form of a host from a URL, an endpoint or a `Host` header. */
export interface Host {
  /** A name in lower case without a trailing dot, or an address: `127.0.0.1`, `::1`. */
  readonly name: string;
  readonly kind: 'name' | 'IPv4' | 'IPv6';
}

/** A name or an IPv4 address. Letters of any script are allowed, as in the Python server. */
const PLAIN_HOST = /^[\p{L}\p{M}\p{N}_-][\p{L}\p{M}\p{N}._-]*$/u;

/** An IPv6 address in brackets, with an optional zone. */
const BRACKETED_HOST = /^(\[[0-9A-Fa-f:.]+)(?:%[0-9A-Za-z._~%-]+)?\]$/;

/** Maximum length of a host, in UTF-16 units. A DNS name has at most 253. */
const MAX_HOST_LENGTH = 512;

/**
 * Parses a host. Returns undefined for an invalid one. An address has many spellings that the system's resolver understands:
 * `127.1`, `0x7f000001`, `2130706433`, `[::ffff:127.0.0.1]`. The URL parser knows all of them, and patterns would miss some.
 */
export function parseHost(text: string): Host | undefined {
  if (text.length > MAX_HOST_LENGTH) return undefined;
  const hostText = BRACKETED_HOST.exec(text)?.[1]?.concat(']') ?? (PLAIN_HOST.test(text) ? text : undefined);
  if (hostText === undefined) return undefined;
  const url = `http://${hostText}/`;
  // A name with a numeric last label, such as `web.1`, is invalid in a URL, but the resolver can know it.
  if (!URL.canParse(url))
    return isNumeric(text) || text.startsWith('[') ? undefined : createNamedHost(text.toLowerCase());
  const { hostname } = new URL(url);
  if (!hostname.startsWith('['))
    return IPV4.test(hostname) ? { name: hostname, kind: 'IPv4' } : createNamedHost(hostname);
  const address = hostname.slice(1, -1);
  // An IPv4-mapped IPv6 address is the same host as the IPv4 address.
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (!mapped) return { name: address, kind: 'IPv6' };
  const [high, low] = [Number.parseInt(mapped[1] as string, 16), Number.parseInt(mapped[2] as string, 16)];
  return { name: [high >> 8, high & 255, low >> 8, low & 255].join('.'), kind: 'IPv4' };
}

/** An IPv4 address as the URL parser serializes it. */
const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;

function createNamedHost(text: string): Host {
  return { name: text.endsWith('.') ? text.slice(0, -1) : text, kind: 'name' };
}

function isNumeric(text: string): boolean {
  return /^[0-9.]+$/.test(text);
}

/** Names of loopback addresses: from RFC 6761, and from /etc/hosts of Linux distributions. */
const LOOPBACK_NAMES: ReadonlySet<string> = new Set([
  'localhost',
  'localhost.localdomain',
  'localhost4',
  'localhost6',
  'ip6-localhost',
  'ip6-loopback',
]);

/** Returns whether a host is a loopback address or name. Each machine resolves it to itself. */
export function isLoopbackHost({ name, kind }: Host): boolean {
  if (kind === 'IPv4') return name.startsWith('127.');
  return name === '::1' || (kind === 'name' && (LOOPBACK_NAMES.has(name) || name.endsWith('.localhost')));
}

/** Returns whether a host is the unspecified address. It is valid for listening on all addresses, and not for calls. */
export function isUnspecifiedHost({ name }: Host): boolean {
  return name === '0.0.0.0' || name === '::';
}

/** Returns the host of the address of a peer. An IPv4 address that arrived over an IPv6 socket is the same host. */
export function toHost(peerAddress: string | undefined): string {
  return (peerAddress ?? 'unknown').replace(/^::ffff:/, '');
}

/** Returns whether a host name or address, with or without brackets, is a loopback host. */
export function isLoopback(host: string): boolean {
  const parsed = parseHost(host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);
  return parsed !== undefined && isLoopbackHost(parsed);
}
