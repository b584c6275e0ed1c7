import { formatOwnerUrl, parseOwnerUrl } from '../api/lease-owner.js';
import { isLoopbackHost, parseHost } from '../core/host.js';
import type { ServerAddress } from './server-list.js';

/** Time for which an owner that has not responded is not asked, in ms. Its requests go to the listed server meanwhile. */
const UNREACHABLE_MS = 30_000;

/**
 * The API server that granted a lease, at the URL that it reported: past the load balancer or the name in the list of servers. See
 * {@link findOwnerAddress}.
 */
export class ReportedOwner {
  readonly server: ServerAddress;
  #failedAtMs = Number.NEGATIVE_INFINITY;

  constructor(server: ServerAddress) {
    this.server = server;
  }

  /** Returns whether to send requests for the lease to the owner first. */
  isReachable(nowMs: number): boolean {
    return nowMs - this.#failedAtMs >= UNREACHABLE_MS;
  }

  /** Records that the owner has not responded. */
  recordFailure(nowMs: number): void {
    this.#failedAtMs = nowMs;
  }
}

/**
 * Returns the address of the owner of a lease that a listed server granted. `peer` is the address from which the response came, such
 * as `10.0.0.1:8080`. Undefined if it is the listed server, or if requests
 * to it would not be as safe as those to the listed server:
 * - They contain a token and the lease. So an owner without TLS is only used if the listed server uses none, on the same kind of
 *   network: this machine, or others.
 * - A loopback address of a server on another machine would be a program on this machine.
 */
export function findOwnerAddress(
  reported: unknown,
  listedServer: ServerAddress,
  peer: string,
): ServerAddress | undefined {
  const { url, listedUrl = url } = listedServer;
  const owner = parseOwnerUrl(reported);
  const listed = new URL(url);
  const [ownerHost, listedHost] = [owner && parseHost(owner.hostname), parseHost(listed.hostname)];
  if (!owner || !ownerHost || !listedHost) return undefined;
  const [isLocal, isListedLocal] = [ownerHost, listedHost].map(isLoopbackHost);
  const isEncrypted = owner.protocol === 'https:';
  if (!isEncrypted && (listed.protocol === 'https:' || isLocal !== isListedLocal)) return undefined;
  if (isLocal && !isListedLocal) return undefined;
  const isSameHost = ownerHost.name === listedHost.name || (isLocal && isListedLocal);
  if (isSameHost && owner.protocol === listed.protocol && owner.port === listed.port) return undefined;
  if (peer === `${owner.hostname}:${owner.port || (isEncrypted ? 443 : 80)}`) return undefined;
  const ownerUrl = formatOwnerUrl(owner);
  // A certificate is rarely valid for an IP address. It is for the listed name if a load balancer passes TLS through.
  if (!isEncrypted || listed.protocol !== 'https:' || ownerHost.kind === 'name' || listedHost.kind !== 'name') {
    return { name: ownerUrl, url: ownerUrl, address: undefined, listedUrl };
  }
  owner.hostname = listed.hostname;
  return { name: ownerUrl, url: formatOwnerUrl(owner), address: ownerHost.name, listedUrl };
}
