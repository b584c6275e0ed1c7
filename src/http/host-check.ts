import type { IncomingMessage } from 'node:http';
import { AnyserveError } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import { type Host, parseHost } from '../core/host.js';
import { quote } from '../core/quoting.js';

/** The host names that a {@link HostCheck} accepts. */
export interface HostCheckOptions {
  /** Returns whether the server listens only on loopback, which is known once it listens. Default: true. */
  readonly isLocal?: (() => boolean) | undefined;
  /** This machine's host name. Default: `localhost`. */
  readonly machineName?: string | undefined;
  /** Additional host names, with or without a port, which is ignored. Default: none. */
  readonly allowedHosts?: readonly string[] | undefined;
}

/** The response to a request that is refused. Undefined if it is accepted. */
export type HostProblem = { readonly status: 400 | 421; readonly detail: string } | undefined;

/** Maximum number of cached verdicts, and maximum length of the Host values that are cached. Parsing one takes 3 µs. */
const MAX_CACHED_VERDICTS = 256;
const MAX_CACHED_LENGTH = 128;

const REPEATED_HOST: HostProblem = { status: 400, detail: 'the request has more than one Host header' };

/**
 * Top-level domains outside of the public DNS, which no attacker controls: RFC 6761, RFC 6762, and ICANN's `internal`.
 */
const PRIVATE_DOMAINS = ['.localhost', '.local', '.internal'];

/**
 * Protects against DNS rebinding: a web page whose host name resolves to this server has the server's origin in a
 * browser, so it could send queries and register replicas. It cannot hide its name, which the browser sends as Host and
 * Origin, and which is compared with the allowed names. IP addresses are accepted, because they do not depend on DNS.
 */
export class HostCheck {
  readonly #isLocal: () => boolean;
  readonly #names: ReadonlySet<string>;
  readonly #verdicts = new GenerationalCache<string, boolean>(MAX_CACHED_VERDICTS);
  /** The last trusted Host value. Nearly all clients of a server use the same one. */
  #lastTrusted = 'localhost';

  /** Throws `usage` for an invalid allowed host. */
  constructor({ isLocal = () => true, machineName = 'localhost', allowedHosts = [] }: HostCheckOptions = {}) {
    this.#isLocal = isLocal;
    const machine = machineName.toLowerCase();
    this.#names = new Set([
      'localhost',
      machine,
      machine.split('.', 1)[0] ?? '',
      ...allowedHosts.map(parseAllowedHost),
    ]);
  }

  /**
   * Checks a request. Names are checked only if the request needs no token, because a web page does not know the token.
   */
  findProblem(request: IncomingMessage & { readonly originalUrl?: string }, needsNoToken: boolean): HostProblem {
    const { host, origin, isRepeated } = getHostFields(request.rawHeaders);
    if (isRepeated) return REPEATED_HOST;
    if (!needsNoToken || (origin === undefined && !this.#isLocal())) return undefined;
    if (host && !this.#isTrusted(host)) return refuseHost('host', host, parseHostAndPort(host)?.name);
    const target = parseAuthority(request.originalUrl ?? request.url ?? '');
    if (target && !this.#isTrusted(target)) return refuseHost('host', target, parseHostAndPort(target)?.name);
    if (origin === undefined) return undefined;
    const page = parseOrigin(origin);
    return page !== undefined && this.#isTrusted(page)
      ? undefined
      : refuseHost('origin', origin, page && parseHostAndPort(page)?.name);
  }

  /** Returns whether a host, with or without a port, is trusted. */
  #isTrusted(text: string): boolean {
    if (text === this.#lastTrusted) return true;
    if (text.length > MAX_CACHED_LENGTH) return this.#isKnown(text);
    let isTrusted = this.#verdicts.get(text);
    if (isTrusted === undefined) {
      isTrusted = this.#isKnown(text);
      this.#verdicts.set(text, isTrusted);
    }
    if (isTrusted) this.#lastTrusted = text;
    return isTrusted;
  }

  #isKnown(text: string): boolean {
    const host = parseHostAndPort(text);
    return host !== undefined && (host.kind !== 'name' || this.#hasName(host.name));
  }

  #hasName(name: string): boolean {
    return this.#names.has(name) || PRIVATE_DOMAINS.some((end) => name.endsWith(end));
  }
}

/**
 * Returns whether a web page of another origin sent the request. Registrations need no content type, so browsers send
 * them without asking the server (a CORS preflight). Without this check, any web page could register replicas at
 * servers that its visitors can reach.
 */
export function isCrossOrigin(request: IncomingMessage): boolean {
  const { host = '', origin } = getHostFields(request.rawHeaders);
  if (origin === undefined) return false;
  const page = parseOrigin(origin);
  const defaultPort = /^https:/i.test(origin) ? '443' : '80';
  return page === undefined || normalizeHost(page, defaultPort) !== normalizeHost(host, defaultPort);
}

/** Formats a host and port in a form that can be compared. Returns text that is not a host unchanged. */
function normalizeHost(text: string, defaultPort: string): string {
  const host = parseHostAndPort(text);
  return host ? `${host.name} ${parsePort(text) || defaultPort}` : text;
}

/** Returns the Host and Origin headers. Reads `rawHeaders` in one pass, because every request is checked. */
function getHostFields(rawHeaders: readonly string[]) {
  let host: string | undefined;
  let origin: string | undefined;
  let isRepeated = false;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') {
      isRepeated = host !== undefined;
      if (isRepeated) break;
      host = rawHeaders[index + 1];
    } else if (name.length === 6 && name.toLowerCase() === 'origin') {
      // Browsers send one Origin. Several are combined to a value that is not a valid origin.
      origin = origin === undefined ? rawHeaders[index + 1] : `${origin}, ${rawHeaders[index + 1]}`;
    }
  }
  return { host, origin, isRepeated };
}

/** A host, optionally with a port. */
const HOST_AND_PORT = /^(\[[^\]]*\]|[^:[\]]+)(?::(\d{0,5}))?$/;

/** Parses a host, optionally with a port. Returns the host, or undefined for any other string. */
function parseHostAndPort(text: string): Host | undefined {
  const [, host, port = ''] = HOST_AND_PORT.exec(text) ?? [];
  return host === undefined || Number(port) > 65535 ? undefined : parseHost(host);
}

function parsePort(text: string): string {
  return HOST_AND_PORT.exec(text)?.[2] ?? '';
}

/**
 * Parses the host and port of a request target in absolute form (RFC 9112, section 3.2.2). Returns undefined for a
 * path.
 */
function parseAuthority(target: string): string | undefined {
  return target.startsWith('/') ? undefined : /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target)?.[1];
}

/** Maximum length of an Origin. A percent-encoded name of 253 characters fits. The URL parser takes 5 ms for 16 KB. */
const MAX_ORIGIN_LENGTH = 1024;

/** Parses the host and port of an Origin. Returns undefined for `null`, and for schemes other than http and https. */
function parseOrigin(origin: string): string | undefined {
  if (origin.length > MAX_ORIGIN_LENGTH) return undefined;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  return url?.protocol === 'http:' || url?.protocol === 'https:' ? url.host : undefined;
}

function refuseHost(field: 'host' | 'origin', value: string, name: string | undefined): HostProblem {
  const option = name === undefined ? '--allowed-host NAME' : `--allowed-host ${name}`;
  const detail = `the ${field} ${quote(value)} is not allowed; to allow it, start the server with ${option}`;
  return { status: 421, detail };
}

/** Returns the name of an allowed host, without its port. */
function parseAllowedHost(text: string): string {
  const host = parseHostAndPort(text);
  if (host) return host.name;
  throw new AnyserveError('usage', `--allowed-host ${quote(text)} is not a host name; use one such as api.example.com`);
}
