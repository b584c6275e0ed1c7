import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { trimTrailingSlashes } from '../http/request-head.js';
import { sleep } from './async-waits.js';

/** One API server. */
export interface ServerAddress {
  /** Name in messages: the URL, and the address if the URL's host name has several. */
  readonly name: string;
  /** URL without a trailing slash. */
  readonly url: string;
  /** IP address to connect to. Undefined: the operating system chooses among those of the host name. */
  readonly address: string | undefined;
  /** The URL in the list of servers, if it differs from `url`. */
  readonly listedUrl?: string | undefined;
}

/** Returns all IP addresses of a host name. Rejects if it has none. */
export type ResolveHost = (
  hostName: string,
) => Promise<readonly { readonly address: string; readonly family: number }[]>;

/** Interval at which host names are resolved again, in ms. */
const RESOLVE_INTERVAL_MS = 30_000;

/** Timeout for the first resolution of a host name, in ms. */
const RESOLVE_TIMEOUT_MS = 3000;

const resolveWithSystem: ResolveHost = (hostName) => lookup(hostName, { all: true });

/**
 * The API servers that a user lists. A host name with several addresses of one family stands for several servers, as a
 * headless Kubernetes Service does. A host name with one IPv4 and one IPv6 address, such as `localhost`, is one server.
 */
export class ServerList {
  readonly #clock: Clock;
  readonly #resolve: ResolveHost;
  readonly #entries: readonly ListEntry[];
  /** Every server that was ever in the list, by name, so that a server stays the same object. */
  readonly #known = new Map<string, ServerAddress>();
  #servers: readonly ServerAddress[];
  #resolveAgainAtMs: number;
  #resolving: Promise<void> | undefined;

  /** Throws `usage` for a server whose URL isn't `http://` or `https://`. */
  constructor(urls: readonly string[], clock: Clock, resolve = resolveWithSystem) {
    if (urls.length === 0) throw new AnyserveError('usage', 'no API server given; give the URL of one or more');
    this.#clock = clock;
    this.#resolve = resolve;
    this.#entries = [...new Set(urls.map(parseServerUrl))].map((url) => this.#createEntry(url));
    this.#servers = this.#listServers();
    this.#resolveAgainAtMs = this.#entries.some(({ hostName }) => hostName) ? Number.NEGATIVE_INFINITY : Infinity;
  }

  /**
   * Returns the servers in the order of the list. Returns a promise only before the host names were resolved for the first
   * time. Later resolutions happen in the background, and keep the known addresses of a name that can't be resolved.
   */
  get(): readonly ServerAddress[] | Promise<readonly ServerAddress[]> {
    const isFirst = this.#resolveAgainAtMs === Number.NEGATIVE_INFINITY;
    const resolving = this.#resolveIfDue();
    return isFirst && resolving !== undefined ? resolving.then(() => this.#servers) : this.#servers;
  }

  /**
   * Calls `onServers` with the servers, and again after each resolution of the host names, until the signal is aborted. Resolves
   * after the first call if there are no host names. A background wait does not keep the process alive.
   */
  async follow(
    onServers: (servers: readonly ServerAddress[]) => void,
    signal: AbortSignal,
    options?: { readonly background?: boolean },
  ): Promise<void> {
    while (!signal.aborted) {
      await this.#resolveIfDue();
      if (signal.aborted) return;
      onServers(this.#servers);
      if (this.#resolveAgainAtMs === Infinity) return;
      await sleep(this.#clock, this.#resolveAgainAtMs - this.#clock.nowMs(), signal, options);
    }
  }

  /** Begins to resolve the host names if it is time to, and returns a promise of the end. */
  #resolveIfDue(): Promise<void> | undefined {
    if (this.#clock.nowMs() < this.#resolveAgainAtMs) return undefined;
    this.#resolving ??= this.#resolveAll();
    return this.#resolving;
  }

  async #resolveAll(): Promise<void> {
    await Promise.all(this.#entries.map((entry) => this.#resolveEntry(entry)));
    this.#servers = this.#listServers();
    this.#resolveAgainAtMs = this.#clock.nowMs() + RESOLVE_INTERVAL_MS;
    this.#resolving = undefined;
  }

  async #resolveEntry(entry: ListEntry): Promise<void> {
    const { hostName, url } = entry;
    if (hostName === undefined) return;
    const done = new AbortController();
    const timeout = sleep(this.#clock, RESOLVE_TIMEOUT_MS, done.signal);
    const resolved = this.#resolve(hostName).then(
      (addresses) => {
        entry.servers = selectAddresses(addresses).map((address) => this.#getServer(url, address));
      },
      // A name without an address is reported by the requests to its URL.
      () => {},
    );
    await Promise.race([resolved, timeout]);
    done.abort();
  }

  #createEntry(url: string): ListEntry {
    const hostName = new URL(url).hostname.replace(/^\[|\]$/g, '');
    const isName = isIP(hostName) === 0 && hostName !== 'localhost';
    return { url, hostName: isName ? hostName : undefined, servers: [this.#getServer(url, undefined)] };
  }

  #listServers(): readonly ServerAddress[] {
    return [...new Set(this.#entries.flatMap(({ servers }) => servers))];
  }

  #getServer(url: string, address: string | undefined): ServerAddress {
    const name = address === undefined ? url : `${url} (${address})`;
    const server = this.#known.get(name) ?? { name, url, address };
    this.#known.set(name, server);
    return server;
  }
}

/** One URL of the list, with the servers that it stands for. */
interface ListEntry {
  readonly url: string;
  /** Undefined if the URL has an IP address, or a name that is always one server. */
  readonly hostName: string | undefined;
  servers: readonly ServerAddress[];
}

/** Returns the addresses that are separate servers; `undefined` for a name that is one server. */
function selectAddresses(
  addresses: readonly { readonly address: string; readonly family: number }[],
): readonly (string | undefined)[] {
  const families = [4, 6].map((family) => [
    ...new Set(addresses.filter((one) => one.family === family).map(({ address }) => address)),
  ]);
  const [ipv4 = [], ipv6 = []] = families;
  const largest = ipv6.length > ipv4.length ? ipv6 : ipv4;
  // Sorted, because name servers rotate the addresses, and the order decides which server is asked first.
  return largest.length > 1 ? largest.sort() : [undefined];
}

/** Parses the URL of an API server. Returns it without trailing slashes. Throws `usage`. */
export function parseServerUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.username || url?.password) {
    const advice = 'give a token with --token-file or in ANYSERVE_TOKEN';
    throw new AnyserveError(
      'usage',
      `the URL of ${url.host} contains a user name or password, which other users can see; ${advice}`,
    );
  }
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (isHttp && url.search === '' && url.hash === '') return trimTrailingSlashes(text);
  throw new AnyserveError(
    'usage',
    `${JSON.stringify(text)} is not an API server URL; give one like http://localhost:8080`,
  );
}
