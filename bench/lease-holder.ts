/**
 * A process that holds leases, as many as it is asked to, each over a connection of its own: it keeps the times at
 * which heartbeats come, renews the two-way ones, and cuts connections.
 */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { answering } from './child-process.js';
import { nowUs, quantile } from './figures.js';

/** What is to be opened. */
export interface Opening {
  readonly port: number;
  readonly count: number;
  /** TTL of two-way leases, in seconds. Default: one-way leases. */
  readonly ttlS?: number | undefined;
  /** Time between two renewals of a two-way lease, in ms. */
  readonly renewEveryMs?: number | undefined;
  /** Whether they are over TLS. */
  readonly isSecure?: boolean;
  /** How many may be on their way at once; 64 unless told. */
  readonly atOnce?: number;
}

/** How late heartbeats came after the one before and its interval, in milliseconds. */
export interface Lateness {
  readonly heartbeats: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
}

interface Held {
  readonly socket: Socket;
  /** Undefined until the lease is granted. */
  lease: string | undefined;
  lastBeatUs: number;
}

const held: Held[] = [];
const gapsMs: number[] = [];
/** Renewals share connections here: more than 10,000 at once would be more than a process may have open. */
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
let renewing: NodeJS.Timeout | undefined;

/** The text of a registration as the leases of a benchmark send it; each can be asked for by its number. */
function registration(n: number, ttlS: number | undefined): string {
  const capabilities = [{ model: `model-${n % 200}`, type: `type-${n % 5}`, gpu: `gpu-${n % 4}`, number: n }];
  const body = JSON.stringify({
    replica_id: `replica-${n}`,
    endpoint: `10.0.0.1:${1 + (n % 60_000)}`,
    capabilities,
    ttl: ttlS,
  });
  return `POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** Opens one lease; resolves when its first heartbeat is there. */
function openOne(n: number, { port, ttlS, isSecure }: Opening): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = isSecure ? connectTls({ port, rejectUnauthorized: false }) : connect(port, '127.0.0.1');
    const one: Held = { socket, lease: undefined, lastBeatUs: 0 };
    held[n] = one;
    socket.on('error', reject);
    socket.write(registration(n, ttlS));
    let head = '';
    socket.on('data', (chunk) => {
      if (one.lastBeatUs > 0) {
        const atUs = nowUs();
        gapsMs.push((atUs - one.lastBeatUs) / 1000);
        one.lastBeatUs = atUs;
        return;
      }
      head += chunk;
      if (!head.includes('alive')) return;
      one.lease = /x-anyserve-lease: (\S+)/i.exec(head)?.[1];
      if (ttlS !== undefined && one.lease === undefined) return reject(new Error(`no lease in ${head}`));
      one.lastBeatUs = nowUs();
      head = '';
      resolve();
    });
  });
}

/** Opens the leases; how long that took, in milliseconds. */
async function open(opening: Opening): Promise<number> {
  const startUs = nowUs();
  let next = 0;
  const one = async (): Promise<void> => {
    while (next < opening.count) await openOne(next++, opening);
  };
  // From the first one on: on a busy machine it may take longer to open all than a lease lasts.
  if (opening.renewEveryMs !== undefined) renewEvery(opening.renewEveryMs, opening);
  await Promise.all(Array.from({ length: opening.atOnce ?? 64 }, one));
  return (nowUs() - startUs) / 1000;
}

/** Renews the leases that are open, over and over, spread evenly over the time from one renewal to the next. */
function renewEvery(intervalMs: number, { port, count }: Opening): void {
  const STEP_MS = 10;
  const beganUs = nowUs();
  let renewed = 0;
  renewing = setInterval(() => {
    const due = ((nowUs() - beganUs) / 1000 / intervalMs) * count;
    for (; renewed < due; renewed++) {
      const lease = held[renewed % count]?.lease;
      if (lease === undefined) continue;
      const path = `/leases/${lease}`;
      const headers = { 'content-type': 'application/json', 'content-length': 17 };
      const renewal = request({ port, method: 'PUT', path, agent, headers }, (response) => {
        if (response.statusCode !== 200 && renewing)
          throw new Error(`a renewal was answered with ${response.statusCode}`);
        response.resume();
      });
      // The server may end while renewals are on their way.
      renewal.on('error', () => {});
      renewal.end('{"state":"ready"}');
    }
  }, STEP_MS);
}

answering({
  open,
  /** Cuts one connection; when, on the clock that all processes share. */
  cut(n: number): number {
    const atUs = nowUs();
    held[n]?.socket.destroy();
    return atUs;
  },
  /** Cuts all that are left at once. */
  cutAll(): number {
    clearInterval(renewing);
    renewing = undefined;
    const atUs = nowUs();
    for (const { socket } of held) socket instanceof TLSSocket ? socket.destroy() : socket.resetAndDestroy();
    return atUs;
  },
  /** How late heartbeats were since this was asked last. */
  lateness(heartbeatMs: number): Lateness {
    const late = gapsMs.splice(0).map((gap) => gap - heartbeatMs);
    return {
      heartbeats: late.length,
      p50Ms: quantile(late, 0.5),
      p99Ms: quantile(late, 0.99),
      mostMs: quantile(late, 1),
    };
  },
});
console.log('ready');
