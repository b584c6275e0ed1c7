/**
 * Process that holds leases on request, each over a separate connection. It records the arrival times of heartbeats, renews
 * two-way leases, and cuts connections.
 */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { answerQuestions } from './child-process.js';
import { computeQuantile, readMonotonicUs } from './figures.js';

/** Leases to open. */
export interface Opening {
  readonly port: number;
  readonly count: number;
  /** TTL of two-way leases, in seconds. Default: one-way leases. */
  readonly ttlS?: number | undefined;
  /** Time between two renewals of a two-way lease, in ms. */
  readonly renewEveryMs?: number | undefined;
  /** Whether the connections use TLS. */
  readonly isSecure?: boolean;
  /** Maximum number of registrations in progress. Default: 64. */
  readonly atOnce?: number;
}

/** Delays of heartbeats beyond the interval since the previous one, in ms. */
export interface Lateness {
  readonly heartbeats: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

interface Held {
  readonly socket: Socket;
  /** Undefined until the lease is granted. */
  lease: string | undefined;
  lastBeatUs: number;
}

const held: Held[] = [];
const gapsMs: number[] = [];
/** Renewals share 64 connections: one for each renewal could exceed the limit of open files. */
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
let renewing: NodeJS.Timeout | undefined;

/** Returns a complete registration request. The pair `number` lets a query find this replica alone. */
function formatRegistration(n: number, ttlS: number | undefined): string {
  const capabilities = [{ model: `model-${n % 200}`, type: `type-${n % 5}`, gpu: `gpu-${n % 4}`, number: n }];
  const body = JSON.stringify({
    replica_id: `replica-${n}`,
    endpoint: `10.0.0.1:${1 + (n % 60_000)}`,
    capabilities,
    ttl: ttlS,
  });
  return `POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** Opens a lease, and resolves when its first heartbeat has arrived. */
function openOne(n: number, { port, ttlS, isSecure }: Opening): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = isSecure ? connectTls({ port, rejectUnauthorized: false }) : connect(port, '127.0.0.1');
    const one: Held = { socket, lease: undefined, lastBeatUs: 0 };
    held[n] = one;
    socket.on('error', reject);
    socket.write(formatRegistration(n, ttlS));
    let head = '';
    socket.on('data', (chunk) => {
      if (one.lastBeatUs > 0) {
        const atUs = readMonotonicUs();
        gapsMs.push((atUs - one.lastBeatUs) / 1000);
        one.lastBeatUs = atUs;
        return;
      }
      head += chunk;
      if (!head.includes('alive')) return;
      one.lease = /x-anyserve-lease: (\S+)/i.exec(head)?.[1];
      if (ttlS !== undefined && one.lease === undefined) return reject(new Error(`no lease in ${head}`));
      one.lastBeatUs = readMonotonicUs();
      head = '';
      resolve();
    });
  });
}

/** Opens the leases and returns how long that took, in ms. */
async function open(opening: Opening): Promise<number> {
  const startUs = readMonotonicUs();
  let next = 0;
  const one = async (): Promise<void> => {
    while (next < opening.count) await openOne(next++, opening);
  };
  // Starts before the first lease is open: on a busy machine, opening all of them can take longer than the TTL.
  if (opening.renewEveryMs !== undefined) renewEvery(opening.renewEveryMs, opening);
  await Promise.all(Array.from({ length: opening.atOnce ?? 64 }, one));
  return (readMonotonicUs() - startUs) / 1000;
}

/** Renews all open leases every `intervalMs`, spread evenly over the interval. */
function renewEvery(intervalMs: number, { port, count }: Opening): void {
  const STEP_MS = 10;
  const beganUs = readMonotonicUs();
  let renewed = 0;
  renewing = setInterval(() => {
    const due = ((readMonotonicUs() - beganUs) / 1000 / intervalMs) * count;
    for (; renewed < due; renewed++) {
      const lease = held[renewed % count]?.lease;
      if (lease === undefined) continue;
      const path = `/leases/${lease}`;
      const headers = { 'content-type': 'application/json', 'content-length': 17 };
      const renewal = request({ port, method: 'PUT', path, agent, headers }, (response) => {
        if (response.statusCode !== 200 && renewing)
          throw new Error(`a renewal failed with status ${response.statusCode}`);
        response.resume();
      });
      // The server can end while renewals are in progress.
      renewal.on('error', () => {});
      renewal.end('{"state":"ready"}');
    }
  }, STEP_MS);
}

answerQuestions({
  open,
  /** Cuts one connection and returns the time, see {@link readMonotonicUs}. */
  cut(n: number): number {
    const atUs = readMonotonicUs();
    held[n]?.socket.destroy();
    return atUs;
  },
  /** Cuts all remaining connections at once and returns the time, see {@link readMonotonicUs}. */
  cutAll(): number {
    clearInterval(renewing);
    renewing = undefined;
    const atUs = readMonotonicUs();
    for (const { socket } of held) socket instanceof TLSSocket ? socket.destroy() : socket.resetAndDestroy();
    return atUs;
  },
  /** Returns the delays of the heartbeats since the last question. */
  lateness(heartbeatMs: number): Lateness {
    const late = gapsMs.splice(0).map((gap) => gap - heartbeatMs);
    return {
      heartbeats: late.length,
      p50Ms: computeQuantile(late, 0.5),
      p99Ms: computeQuantile(late, 0.99),
      maxMs: computeQuantile(late, 1),
    };
  },
});
console.log('ready');
