import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Running, type StartOptions, start, startProgram } from './binary.js';
import type { Network, NetworkHost } from './netns.js';
import type { SwitchedHost } from './switched-network.js';
import { until } from './until.js';

const execute = promisify(execFile);

/** Default port of an API server that runs in a test network. */
const NETWORK_PORT = 8080;

/** An API server in a separate process, observed from outside. */
export interface ServerProcess {
  readonly running: Running;
  /** Its URL as seen from its own host. */
  readonly url: string;
  /** Returns the replica ids of `GET /registry`, in its order. */
  listReplicaIds(): Promise<string[]>;
  /** Returns the replica id of `GET /route`, or undefined when no replica matches. */
  fetchRoute(): Promise<string | undefined>;
  /** Sends a GET request with curl. */
  fetchPath(path: string): Promise<{ status: number; body: string }>;
}

/** Where an API server runs. */
export interface ServerPlace {
  readonly args?: readonly string[];
  /** A test network at whose hub it runs. Default: on this machine. */
  readonly network?: Network;
  /** A host on which it runs, and at whose address this machine reaches it. */
  readonly host?: Pick<SwitchedHost, 'address' | 'through'> | undefined;
  /** Default: a free port on this machine, and 8080 in a network. */
  readonly port?: number;
}

/** Starts an API server on this machine, on a free port by default, or in a test network. */
export async function startServer({
  args = [],
  network,
  host,
  port = network || host ? NETWORK_PORT : 0,
  ...options
}: StartOptions & ServerPlace = {}): Promise<ServerProcess> {
  const address = host ? ['--host', '0.0.0.0', '--allowed-host', host.address] : network ? ['--host', '0.0.0.0'] : [];
  const through = [...(network?.through ?? host?.through ?? []), ...(options.through ?? [])];
  const running = start(['serve', ...address, '--port', String(port), ...args], { ...options, through });
  const listening = await running.waitForOutput(/listening on (\S+)/);
  const url = network || host ? `http://${host?.address ?? '127.0.0.1'}:${port}` : listening;
  const [command = 'curl', ...words] = [...(network?.through ?? []), 'curl'];
  async function fetchPath(path: string): Promise<{ status: number; body: string }> {
    const { stdout } = await execute(command, [...words, '-s', '-m', '15', '-w', '\n%{http_code}', `${url}${path}`], {
      maxBuffer: 64 * 1024 * 1024,
    });
    const end = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
  }
  return {
    running,
    url,
    fetchPath,
    async listReplicaIds() {
      const { replicas } = JSON.parse((await fetchPath('/registry')).body) as { replicas: { replica_id: string }[] };
      return replicas.map(({ replica_id }) => replica_id);
    },
    async fetchRoute() {
      const { status, body } = await fetchPath('/route?type=chat');
      return status === 200 ? (JSON.parse(body) as { replica_id: string }).replica_id : undefined;
    },
  };
}

/** Returns the log lines about replicas that the server removed. */
export function readRemovals({ running }: ServerProcess): string[] {
  return running
    .stderr()
    .split('\n')
    .filter((line) => line.includes(' removed "'));
}

/** Returns the URL of an API server at the hub, as seen from a host. */
export function getServerUrl(host: NetworkHost, port = NETWORK_PORT): string {
  return `http://${host.middle}:${port}`;
}

/** Registers a replica with curl, and resolves when it is registered. */
export async function startCurlRegistrant(
  server: string,
  id: string,
  {
    args = [],
    body: members = {},
    ...options
  }: { args?: readonly string[]; body?: object; through?: readonly string[] } = {},
): Promise<Running> {
  const registration = { replica_id: id, endpoint: `${id}.test:1`, capabilities: [{ type: 'chat' }], ...members };
  const body = JSON.stringify(registration);
  const curl = ['curl', '-sN', ...args, `${server}/register`, '-H', 'content-type: application/json', '-d', body];
  const registrant = startProgram(curl, options);
  await registrant.waitForOutput(/alive/);
  return registrant;
}

/** Waits until a condition holds, prints and returns how long that took in ms, and rejects when it takes longer than the limit. */
export async function measureTimeUntil(
  what: string,
  limitMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<number> {
  const beganAtMs = performance.now();
  await until(what, holds, limitMs);
  const tookMs = Math.round(performance.now() - beganAtMs);
  console.info(`measured: ${what}: ${tookMs} ms (at most ${limitMs})`);
  return tookMs;
}

/**
 * Waits until a condition holds for each API server. Prints and returns how long that took at each, in ms, and rejects when one
 * takes longer than the limit. A server for which the condition held once is not asked again.
 */
export async function measureTimeAtEach(
  what: string,
  limitMs: number,
  servers: readonly ServerProcess[],
  holds: (server: ServerProcess) => Promise<boolean>,
): Promise<number[]> {
  const beganAtMs = performance.now();
  const tookMs = await Promise.all(
    servers.map(async (server) => {
      await until(`${what}, at ${server.url}`, () => holds(server), limitMs);
      return Math.round(performance.now() - beganAtMs);
    }),
  );
  console.info(`measured: ${what}: ${tookMs.join(', ')} ms (at most ${limitMs})`);
  return tookMs;
}

/** Checks a condition every 50 ms for `ms` milliseconds, and throws as soon as it doesn't hold. */
export async function assertHolds(what: string, ms: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endAtMs = performance.now() + ms;
  while (performance.now() < endAtMs) {
    if (!(await holds())) throw new Error(`for ${ms} ms this should hold: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
