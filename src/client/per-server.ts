import type { ServerAddress, ServerList } from './server-list.js';

/** Options of {@link runForEachServer}. */
export interface RunForEachServerOptions {
  /** Ends all tasks when aborted. */
  readonly signal: AbortSignal;
  /** Whether the process can exit while it waits for the next resolution of the host names. Default: false. */
  readonly background?: boolean;
}

/**
 * Runs a task for each API server, including the servers that a host name has later. The signal of a task is aborted when
 * its server is no longer in the list. Resolves when all tasks have ended. A task must not reject.
 */
export async function runForEachServer(
  list: Pick<ServerList, 'follow'>,
  run: (server: ServerAddress, signal: AbortSignal) => Promise<void>,
  { signal, background = false }: RunForEachServerOptions,
): Promise<void> {
  const stops = new Map<ServerAddress, AbortController>();
  const tasks: Promise<void>[] = [];
  const allEnded = new AbortController();
  let runningCount = 0;
  const start = (server: ServerAddress): void => {
    const stop = new AbortController();
    stops.set(server, stop);
    runningCount++;
    const task = run(server, stop.signal).finally(() => --runningCount === 0 && allEnded.abort());
    tasks.push(task);
  };
  const stopAll = (): void => {
    allEnded.abort();
    for (const stop of stops.values()) stop.abort(signal.reason);
  };
  signal.addEventListener('abort', stopAll, { once: true });
  if (signal.aborted) stopAll();
  const onServers = (servers: readonly ServerAddress[]): void => {
    for (const server of servers) if (!stops.has(server)) start(server);
    for (const [server, stop] of stops) {
      if (servers.includes(server)) continue;
      stops.delete(server);
      stop.abort();
    }
  };
  await list.follow(onServers, allEnded.signal, { background });
  await Promise.all(tasks);
  signal.removeEventListener('abort', stopAll);
}
