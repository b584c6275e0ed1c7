/** The gateways that are compared, in front of one engine. */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CALL_PATH, findFreePort, KEY, MODEL } from './gateway-engine.js';
import { startUntil, stop } from './gateway-process.js';
import { getRivalFolder, isInstalled, RIVALS, type Rival } from './gateway-rivals.js';
import { getProjectPath } from './project-file.js';

/** A gateway that runs, or the engine itself. */
export interface Contender {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined for the engine itself. */
  readonly process: ChildProcess | undefined;
  stop(): Promise<void>;
}

/** The core of the gateways. Engine and clients run on the other one. */
export const GATEWAY_CORE = 0;
export const CLIENT_CORE = 1;

const HEADERS = { 'content-type': 'application/json', authorization: `Bearer ${KEY}` };

const ANYSERVE = [process.execPath, getProjectPath('bin/anyserve.js')] as const;

export const OURS = 'anyserve';

/** The engine itself, as what a gateway's times are compared with. */
function createDirect(engine: string): Contender {
  return { name: 'direct', url: engine, headers: HEADERS, process: undefined, stop: async () => {} };
}

/** The names of all contenders that can be started. */
function listContenders(): readonly string[] {
  return [OURS, 'plain node:http proxy', ...RIVALS.filter(isInstalled).map(({ name }) => name)];
}

/** Starts all contenders in front of an engine. One of others that does not start is left out. */
export async function startContenders(engine: string): Promise<Contender[]> {
  const contenders: Contender[] = [createDirect(engine)];
  for (const name of listContenders()) {
    try {
      contenders.push(await startContender(name, engine));
    } catch (error) {
      if (name === OURS) throw error;
      console.warn(`left out: ${name}: ${(error as Error).message}`);
    }
  }
  return contenders;
}

/**
 * Does something with each contender that is in the map. A gateway of others that fails or does not finish is stopped and removed, with a
 * warning, so that it does not hold up the rest.
 */
export async function forEachContender<State>(
  contenders: readonly Contender[],
  states: Map<string, State>,
  work: (contender: Contender, state: State) => Promise<void>,
): Promise<void> {
  for (const contender of contenders) {
    const state = states.get(contender.name);
    if (state === undefined) continue;
    try {
      await work(contender, state);
    } catch (error) {
      if (contender.name === OURS || contender.process === undefined) throw error;
      console.warn(`${contender.name} did not finish: ${(error as Error).message}`);
      states.delete(contender.name);
      await contender.stop();
    }
  }
}

/** Starts a contender in front of an engine. Resolves when it forwards calls. */
export async function startContender(
  name: string,
  engine: string,
  nodeOptions: readonly string[] = [],
): Promise<Contender> {
  const port = await findFreePort();
  if (name === OURS) return startOurs(engine, port, nodeOptions);
  const rival = RIVALS.find((each) => each.name === name);
  return rival ? startRival(rival, engine, port) : startPlainProxy(name, engine, port);
}

async function startPlainProxy(name: string, engine: string, port: number): Promise<Contender> {
  return run(name, port, [process.execPath, getProjectPath('bench/built/plain-proxy.mjs'), engine, String(port)]);
}

async function startRival(rival: Rival, engine: string, port: number): Promise<Contender> {
  const command = rival.createCommand(getRivalFolder(rival), engine, port, await findFreePort());
  return run(rival.name, port, command, { headers: rival.createHeaders?.(engine), env: rival.env });
}

/** An API server at which an engine is registered. */
export interface RegisteredEngine {
  /** URL of the API server. */
  readonly server: string;
  stop(): Promise<void>;
}

/** Starts an API server, and a registrant for an engine. Both run on the core of the clients. */
export async function registerEngine(engine: string): Promise<RegisteredEngine> {
  const port = await findFreePort();
  const server = `http://127.0.0.1:${port}`;
  const processes = [
    await startUntil([...ANYSERVE, 'serve', '--port', String(port)], {
      core: CLIENT_CORE,
      isReady: async () => (await fetch(`${server}/readyz`)).ok,
    }),
    await startUntil([...ANYSERVE, 'register', '--server', server, '--openai', `${engine}/v1`], {
      core: CLIENT_CORE,
      isReady: async () => (await fetch(`${server}/route?model=${MODEL}`)).ok,
    }),
  ];
  return {
    server,
    async stop() {
      for (const each of processes) await stop(each);
    },
  };
}

/** Starts a gateway with an API server at which the engine is registered. Keys and the log are on. */
async function startOurs(engine: string, port: number, nodeOptions: readonly string[]): Promise<Contender> {
  const registered = await registerEngine(engine);
  const folder = mkdtempSync(join(tmpdir(), 'anyserve-bench-'));
  const keyFile = join(folder, 'keys');
  writeFileSync(keyFile, `bench ${KEY} steer\n`, { mode: 0o600 });
  const [node, binary] = ANYSERVE;
  const options = ['--port', String(port), '--server', registered.server, '--key-file', keyFile];
  const contender = await run(OURS, port, [node, ...nodeOptions, binary, 'gateway', ...options], {
    logFile: join(folder, 'log'),
  });
  return {
    ...contender,
    async stop() {
      await contender.stop();
      await registered.stop();
    },
  };
}

/** Starts a gateway, and waits until it forwards a call. */
async function run(
  name: string,
  port: number,
  command: [string, ...string[]],
  {
    headers = {},
    env = {},
    logFile = '/dev/null',
  }: {
    headers?: Readonly<Record<string, string>> | undefined;
    env?: Readonly<Record<string, string>> | undefined;
    logFile?: string;
  } = {},
): Promise<Contender> {
  const url = `http://127.0.0.1:${port}`;
  const allHeaders = { ...HEADERS, ...headers };
  const body = JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }] });
  const isReady = async (): Promise<boolean> => {
    const response = await fetch(url + CALL_PATH, { method: 'POST', headers: allHeaders, body });
    await response.arrayBuffer();
    return response.ok;
  };
  const child = await startUntil(command, { core: GATEWAY_CORE, isReady, env, logFile });
  return { name, url, headers: allHeaders, process: child, stop: () => stop(child) };
}
