import type { IncomingMessage } from 'node:http';
import { AnyserveError } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import { type Host, parseHost } from '../core/host.js';
import { quote } from '../core/quoting.js';

/** What the names in a request are compared with. */
export interface HostCheckOptions {
  /** Whether the server listens on loopback only, which is known once it listens. Default: it does. */
  readonly isLocal?: (() => boolean) | undefined;
  /** The name of this machine. Default: it has none. */
  readonly machineName?: string | undefined;
  /** Other names, as users give them. Default: none. */
  readonly allowedHosts?: readonly string[] | undefined;
}

/** Why a request is not answered; undefined when it is. */
export type HostProblem = { readonly status: 400 | 421; readonly detail: string } | undefined;

/** Maximum number of Host values whose verdict is remembered, and their maximum length: reading one takes 3 µs. */
const MAX_REMEMBERED = 256;
const MAX_REMEMBERED_LENGTH = 128;

const REPEATED: HostProblem = { status: 400, detail: 'the request has more than one Host header' };

/** Top-level names that no DNS server of an attacker can answer for: RFC 6761, RFC 6762, and ICANN's private-use name. */
const PRIVATE_NAMES = ['.localhost', '.local', '.internal'];

/**
 * Protects against DNS rebinding: a web page whose name is made to lead to this server is, to a browser, a page of this server,
 * and can ask and register. But it cannot hide its name, which the browser sends as Host and Origin. Addresses are fine:
 * they need no DNS.
 */
export class HostCheck {
  readonly #isLocal: () => boolean;
  readonly #names: ReadonlySet<string>;
  readonly #verdicts = new GenerationalCache<string, boolean>(MAX_REMEMBERED);
  /** The host that was trusted last. Nearly all callers of a server know it by one name. */
  #trusted = 'localhost';

  /** Throws `usage` for an allowed host that is no host. */
  constructor({ isLocal = () => true, machineName = 'localhost', allowedHosts = [] }: HostCheckOptions = {}) {
    this.#isLocal = isLocal;
    const machine = machineName.toLowerCase();
    this.#names = new Set(['localhost', machine, machine.split('.', 1)[0] ?? '', ...allowedHosts.map(allowedName)]);
  }

  /** Checks a request. Only one that needs no token has its names checked: a web page does not know the token. */
  findProblem(request: IncomingMessage & { readonly originalUrl?: string }, needsNoToken: boolean): HostProblem {
    const { host, origin, isRepeated } = hostFields(request.rawHeaders);
    if (isRepeated) return REPEATED;
    if (!needsNoToken || (origin === undefined && !this.#isLocal())) return undefined;
    if (host && !this.#isTrusted(host)) return misdirected('the host', host, hostOf(host)?.name);
    const asked = authorityOf(request.originalUrl ?? request.url ?? '');
    if (asked && !this.#isTrusted(asked)) return misdirected('the host', asked, hostOf(asked)?.name);
    if (origin === undefined) return undefined;
    const page = originHost(origin);
    return page !== undefined && this.#isTrusted(page)
      ? undefined
      : misdirected('web pages of', origin, page && hostOf(page)?.name);
  }

  #isTrusted(text: string): boolean {
    if (text === this.#trusted) return true;
    if (text.length > MAX_REMEMBERED_LENGTH) return this.#isKnown(text);
    let isTrusted = this.#verdicts.get(text);
    if (isTrusted === undefined) {
      isTrusted = this.#isKnown(text);
      this.#verdicts.set(text, isTrusted);
    }
    if (isTrusted) this.#trusted = text;
    return isTrusted;
  }

  #isKnown(text: string): boolean {
    const host = hostOf(text);
    return host !== undefined && (host.kind !== 'name' || this.#hasName(host.name));
  }

  #hasName(name: string): boolean {
    return this.#names.has(name) || PRIVATE_NAMES.some((end) => name.endsWith(end));
  }
}

/**
 * Whether a web page of another origin sends the request. Registrations need no content type, so that any page could otherwise
 * register at the servers that its visitors reach, from an address as well as from a name.
 */
export function isCrossOrigin(request: IncomingMessage): boolean {
  const { host = '', origin } = hostFields(request.rawHeaders);
  if (origin === undefined) return false;
  const page = originHost(origin);
  const defaultPort = /^https:/i.test(origin) ? '443' : '80';
  return page === undefined || sameForm(page, defaultPort) !== sameForm(host, defaultPort);
}

/** A host and port in one spelling; the text itself when it is none. */
function sameForm(text: string, defaultPort: string): string {
  const host = hostOf(text);
  return host ? `${host.name} ${portOf(text) || defaultPort}` : text;
}

/** The fields of a request that name hosts. Read in one pass from the pairs as they came, because every request is checked. */
function hostFields(rawHeaders: readonly string[]) {
  let host: string | undefined;
  let origin: string | undefined;
  let isRepeated = false;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') {
      isRepeated = host !== undefined;
      if (isRepeated) break;
      host = rawHeaders[at + 1];
    } else if (name.length === 6 && name.toLowerCase() === 'origin') {
      // Two origins are none that a browser sends.
      origin = origin === undefined ? rawHeaders[at + 1] : `${origin}, ${rawHeaders[at + 1]}`;
    }
  }
  return { host, origin, isRepeated };
}

/** A host with or without a port. */
const HOST_AND_PORT = /^(\[[^\]]*\]|[^:[\]]+)(?::(\d{0,5}))?$/;

function hostOf(text: string): Host | undefined {
  const [, host, port = ''] = HOST_AND_PORT.exec(text) ?? [];
  return host === undefined || Number(port) > 65535 ? undefined : parseHost(host);
}

function portOf(text: string): string {
  return HOST_AND_PORT.exec(text)?.[2] ?? '';
}

/** The host and port that a whole URL as request target names (RFC 9112, 3.2.2); undefined for a path. */
function authorityOf(target: string): string | undefined {
  return target.startsWith('/') ? undefined : /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target)?.[1];
}

/** Maximum length of an Origin that is read: a name of 253 characters, escaped, fits. The URL parser takes 5 ms for 16 KB. */
const MAX_ORIGIN = 1024;

/** The host and port of the page that an Origin names; undefined for `null` and others that name none. */
function originHost(origin: string): string | undefined {
  if (origin.length > MAX_ORIGIN) return undefined;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  return url?.protocol === 'http:' || url?.protocol === 'https:' ? url.host : undefined;
}

function misdirected(what: string, named: string, name: string | undefined): HostProblem {
  const option = name === undefined ? '--allowed-host NAME' : `--allowed-host ${name}`;
  const detail = `${what} ${quote(named)} may not use this server; if it is to be reached by that name, start it with ${option}`;
  return { status: 421, detail };
}

/** The name that an allowed host is, whose port does not matter. */
function allowedName(text: string): string {
  const host = hostOf(text);
  if (host) return host.name;
  throw new AnyserveError('usage', `--allowed-host ${quote(text)} is no host name; give one like api.example.com`);
}
