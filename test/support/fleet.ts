import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Running, type StartOptions, start, startProgram } from './binary.js';
import type { Network, NetworkHost } from './netns.js';
import { until } from './until.js';

const execute = promisify(execFile);

/** The port of every API server in a network of its own. */
const PORT = 8080;

/** An API server that runs as a process of its own, and what can be seen of it from beside it. */
export interface ServerProcess {
  readonly running: Running;
  /** Where it is reached from its own host. */
  readonly url: string;
  /** The ids in the list, in its order. */
  listed(): Promise<string[]>;
  /** The id that it routes a call to; undefined when none matches. */
  routed(): Promise<string | undefined>;
  /** The status of a path, and the body. */
  ask(path: string): Promise<{ status: number; body: string }>;
}

/** Starts an API server on this host, or in the middle of a network. */
export async function startServer({
  args = [],
  network,
  port,
  ...options
}: StartOptions & { args?: readonly string[]; network?: Network; port?: number } = {}): Promise<ServerProcess> {
  const place = network ? ['--host', '0.0.0.0', '--port', String(PORT)] : ['--port', String(port ?? 0)];
  const through = [...(network?.through ?? []), ...(options.through ?? [])];
  const running = start(['serve', ...place, ...args], { ...options, through });
  const listening = await running.printed(/listening on (\S+)/);
  const url = network ? `http://127.0.0.1:${PORT}` : listening;
  const [command = 'curl', ...words] = [...(network?.through ?? []), 'curl'];
  async function ask(path: string): Promise<{ status: number; body: string }> {
    const { stdout } = await execute(command, [...words, '-s', '-m', '5', '-w', '\n%{http_code}', `${url}${path}`], {
      maxBuffer: 64 * 1024 * 1024,
    });
    const end = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
  }
  return {
    running,
    url,
    ask,
    async listed() {
      const { replicas } = JSON.parse((await ask('/registry')).body) as { replicas: { replica_id: string }[] };
      return replicas.map(({ replica_id }) => replica_id);
    },
    async routed() {
      const { status, body } = await ask('/route?type=chat');
      return status === 200 ? (JSON.parse(body) as { replica_id: string }).replica_id : undefined;
    },
  };
}

/** What a server tells of the replicas that it took out of the list. */
export function removals({ running }: ServerProcess): string[] {
  return running
    .stderr()
    .split('\n')
    .filter((line) => line.includes(' removed '));
}

/** The URL of the API server in the middle, from a host. */
export function serverFrom(host: NetworkHost): string {
  return `http://${host.middle}:${PORT}`;
}

/** Registers as anybody can, with curl; resolves when it is registered. */
export async function curlRegistrant(
  server: string,
  id: string,
  { args = [], ...options }: { args?: readonly string[]; through?: readonly string[] } = {},
): Promise<Running> {
  const body = JSON.stringify({ replica_id: id, endpoint: `${id}.test:1`, capabilities: [{ type: 'chat' }] });
  const curl = ['curl', '-sN', ...args, `${server}/register`, '-H', 'content-type: application/json', '-d', body];
  const registrant = startProgram(curl, options);
  await registrant.printed(/alive/);
  return registrant;
}

/** How long it takes until something holds, in milliseconds; fails when that is longer than it may be. */
export async function timeUntil(
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

/** Looks again and again for a while, and fails as soon as something does not hold. */
export async function holdsFor(what: string, ms: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endAtMs = performance.now() + ms;
  while (performance.now() < endAtMs) {
    if (!(await holds())) throw new Error(`for ${ms} ms it should have held that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
