import { connect, type Socket } from 'node:net';
import { type RepeatedRequests, repeatRequests } from './repeated-requests.js';
import { until } from './until.js';

/** Maximum time from the end of a lease to the end of its connection, in ms. */
const END_DELAY_MS = 1000;

/** TTL of the leases, in seconds. Longer than a server is frozen. */
const TTL_S = 60;

/** Renewals of each lease at each server, per second. */
const RENEWALS_PER_SECOND = 2;

/** Timeout of a request, in ms. A server responds within a second, also for another server that doesn't. */
const TIMEOUT_MS = 5000;

/** A lease that one of the servers has granted. Its connection is open until the lease ends. */
interface ProbedLease {
  readonly id: string;
  readonly socket: Socket;
  hasEnded: boolean;
}

/**
 * Leases whose requests go through all API servers of a registry: the outcome must be that at the owner, or 503. While a lease's
 * connection is open, its owner has it.
 */
export class LeaseProbes {
  readonly #servers: readonly string[];
  readonly #leases: ProbedLease[] = [];
  readonly #statuses = new Map<number, number>();
  readonly #violations: string[] = [];
  #renewals: RepeatedRequests | undefined;
  #next = 0;

  /** Creates the probes of the servers with these URLs. */
  constructor(servers: readonly string[]) {
    this.#servers = servers;
  }

  /** Number of responses by their status; 0 for none. */
  get statuses(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#statuses);
  }

  /** Number of leases that have not ended. */
  get count(): number {
    return this.#leases.filter(({ hasEnded }) => !hasEnded).length;
  }

  /** Registers a replica at each server, unless its previous lease there is still open. Renews all leases until `stop`. */
  async hold(): Promise<void> {
    await Promise.all(
      this.#servers.map(async (server, n) => {
        if (this.#leases[n] === undefined || this.#leases[n].hasEnded) {
          this.#leases[n] = await this.#register(server, `probe${n}`);
        }
      }),
    );
    const perSecond = RENEWALS_PER_SECOND * this.#servers.length ** 2;
    this.#renewals ??= repeatRequests(perSecond, () => this.#renewNext());
  }

  /** Releases each lease through another server than its owner, and expects that no server renews it afterwards. */
  async expectReleases(): Promise<void> {
    for (const [n, lease] of this.#leases.entries()) {
      const through = this.#servers[(n + 1) % this.#servers.length] as string;
      await until(`${through} releases a lease of ${this.#servers[n]}`, async () => {
        const status = await send('DELETE', through, lease.id);
        return status === 200 || (status === 404 && lease.hasEnded);
      });
      for (const server of this.#servers) {
        await until(`${server} does not know a released lease`, async () => {
          const status = await send('PUT', server, lease.id);
          if (status === 200) this.#violations.push(`${server} renewed a released lease of ${this.#servers[n]}`);
          return status !== 503 && status !== 0;
        });
      }
    }
  }

  /** Ends the renewals. Returns the responses that the owner would not have sent. */
  async stop(): Promise<readonly string[]> {
    await this.#renewals?.stop();
    for (const { socket } of this.#leases) socket.destroy();
    return this.#violations;
  }

  async #renewNext(): Promise<void> {
    const n = this.#next++ % this.#servers.length ** 2;
    const owner = Math.floor(n / this.#servers.length);
    const [lease, server] = [this.#leases[owner] as ProbedLease, this.#servers[n % this.#servers.length] as string];
    if (lease.hasEnded) return;
    const status = await send('PUT', server, lease.id);
    this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    if (status === 200 || status === 503 || status === 0) return;
    await new Promise((resolve) => setTimeout(resolve, END_DELAY_MS));
    if (lease.hasEnded) return;
    this.#violations.push(`${server} responded to a renewal of a lease of ${this.#servers[owner]} with ${status}`);
  }

  async #register(server: string, id: string): Promise<ProbedLease> {
    const { hostname, port } = new URL(server);
    const registration = { replica_id: id, endpoint: `${id}.test:1`, capabilities: [{ type: 'probe' }], ttl: TTL_S };
    const socket = connect(Number(port), hostname);
    let received = '';
    let hasEnded = false;
    const end = (): void => {
      hasEnded = true;
    };
    socket.on('error', end).on('end', end).on('close', end);
    socket.on('data', (chunk) => {
      if (received.length < 4096) received += chunk;
    });
    const body = JSON.stringify(registration);
    socket.write(
      `POST /register HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await until(`${server} grants a lease`, () => received.includes('alive'));
    return {
      id: /^x-anyserve-lease: (\S+)\r$/im.exec(received)?.[1] ?? '',
      socket,
      get hasEnded() {
        return hasEnded;
      },
    };
  }
}

/** Sends a request for a lease. Resolves to the status, or 0 without a response. */
async function send(method: 'PUT' | 'DELETE', server: string, lease: string): Promise<number> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(`${server}/leases/${lease}`, { method, signal }).catch(() => undefined);
  await response?.text().catch(() => {});
  return response?.status ?? 0;
}
