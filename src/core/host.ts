/** A host of a URL, an endpoint or a `Host` header, in the one spelling that stands for all its others. */
export interface Host {
  /** A name in lower case, or an address: `127.0.0.1`, `::1`. A dot at the end is left out. */
  readonly name: string;
  readonly kind: 'name' | 'IPv4' | 'IPv6';
}

/** A name or an IPv4 address; letters of any script, because names can have them and the Python server takes them. */
const PLAIN_HOST = /^[\p{L}\p{M}\p{N}_-][\p{L}\p{M}\p{N}._-]*$/u;

/** An IPv6 address in brackets, with or without a zone. */
const BRACKETED_HOST = /^(\[[0-9A-Fa-f:.]+)(?:%[0-9A-Za-z._~%-]+)?\]$/;

/** Longest host that is read, in UTF-16 units. A name has at most 253. */
const MAX_HOST = 512;

/**
 * Reads a host. An address has many spellings (`127.1`, `0x7f000001`, `2130706433`, `[::ffff:127.0.0.1]`), all of which
 * the system's resolver understands. The URL parser knows them; patterns would miss some. Undefined for what is no host.
 */
export function parseHost(text: string): Host | undefined {
  if (text.length > MAX_HOST) return undefined;
  const written = BRACKETED_HOST.exec(text)?.[1]?.concat(']') ?? (PLAIN_HOST.test(text) ? text : undefined);
  if (written === undefined) return undefined;
  const url = `http://${written}/`;
  // A name whose last part is a number, such as `web.1`, is no host of a URL, but the resolver may know it.
  if (!URL.canParse(url)) return isNumeric(text) || text.startsWith('[') ? undefined : nameFrom(text.toLowerCase());
  const { hostname } = new URL(url);
  if (!hostname.startsWith('[')) return IPV4.test(hostname) ? { name: hostname, kind: 'IPv4' } : nameFrom(hostname);
  const address = hostname.slice(1, -1);
  // An IPv4 address as IPv6 sockets show it is the same host.
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (!mapped) return { name: address, kind: 'IPv6' };
  const [high, low] = [Number.parseInt(mapped[1] as string, 16), Number.parseInt(mapped[2] as string, 16)];
  return { name: [high >> 8, high & 255, low >> 8, low & 255].join('.'), kind: 'IPv4' };
}

/** An IPv4 address as the URL parser writes it. */
const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;

function nameFrom(text: string): Host {
  return { name: text.endsWith('.') ? text.slice(0, -1) : text, kind: 'name' };
}

function isNumeric(text: string): boolean {
  return /^[0-9.]+$/.test(text);
}

/** Names of this machine's loopback addresses: those of RFC 6761, and what distributions have in /etc/hosts. */
const LOOPBACK_NAMES: ReadonlySet<string> = new Set([
  'localhost',
  'localhost.localdomain',
  'localhost4',
  'localhost6',
  'ip6-localhost',
  'ip6-loopback',
]);

/** Whether a host means the machine of whoever reads it. */
export function isLoopbackHost({ name, kind }: Host): boolean {
  if (kind === 'IPv4') return name.startsWith('127.');
  return name === '::1' || (kind === 'name' && (LOOPBACK_NAMES.has(name) || name.endsWith('.localhost')));
}

/** Whether a host is the unspecified address: every address of a machine to a listener, and none to a caller. */
export function isUnspecifiedHost({ name }: Host): boolean {
  return name === '0.0.0.0' || name === '::';
}
