import type { WatchEvent } from '../api/watch-events.js';
import type { ApiClient } from '../client/api-client.js';
import { combineFailures } from '../client/api-failure.js';
import { waitForDrain } from '../client/async-waits.js';
import { followStream } from '../client/followed-stream.js';
import type { ServerAddress } from '../client/server-list.js';
import type { CapabilityQuery } from '../core/capability.js';
import type { AnyserveError } from '../core/errors.js';
import { clock, random } from '../system.js';
import { type CommandIo, getShutdownExitCode } from './command.js';
import { createLog, formatSeconds } from './output.js';
import { formatListChange, formatWatchEventJson, ListTracker } from './watch-lines.js';

/** How to print the changes. */
export interface WatchRegistryOptions {
  readonly isJson: boolean;
  readonly io: CommandIo;
}

/**
 * Prints the matches of each API server, and then each change, until interrupted. A server that fails is reported and tried
 * until it responds. Resolves to the exit code. Rejects if no server can be watched at first.
 */
export async function watchRegistry(
  api: ApiClient,
  query: CapabilityQuery,
  { isJson, io }: WatchRegistryOptions,
): Promise<number> {
  const servers = await api.servers.get();
  const allFailed = new AbortController();
  const signal = AbortSignal.any([io.interrupted, io.stdoutClosed, allFailed.signal]);
  /** The last error of each server that has sent nothing yet. */
  const failures = new Map<ServerAddress, AnyserveError>();
  let hasEvents = false;
  const reportFailure = (server: ServerAddress, error: AnyserveError, plan: string): void => {
    failures.set(server, error);
    if (!hasEvents && failures.size === servers.length) allFailed.abort();
    else createLog(io).warn(`${error.message}${plan}`);
  };
  const watchServer = async (server: ServerAddress): Promise<void> => {
    const format = createFormat(servers.length > 1 ? server.name : undefined, server.name, { isJson, io });
    const onEvent = async (event: WatchEvent): Promise<void> => {
      hasEvents = true;
      failures.delete(server);
      for (const line of format(event)) if (!io.stdout.write(line)) await waitForDrain(io.stdout, signal);
    };
    const onLost = (error: AnyserveError, retryInMs: number): void =>
      reportFailure(server, error, `; retrying in ${formatSeconds(retryInMs)}`);
    await followStream(api.watch(server, query), { clock, random, signal, onEvent, onLost });
  };
  await Promise.all(
    servers.map((server) => watchServer(server).catch((error: AnyserveError) => reportFailure(server, error, ''))),
  );
  if (io.interrupted.aborted) return getShutdownExitCode(io.interrupted);
  if (io.stdoutClosed.aborted) return 0;
  throw combineFailures([...failures.values()]);
}

/** Creates a function that formats the events of one server as lines. */
function createFormat(
  shownName: string | undefined,
  serverName: string,
  { isJson, io }: WatchRegistryOptions,
): (event: WatchEvent) => string[] {
  if (isJson) return (event) => [formatWatchEventJson(event, serverName)];
  const list = new ListTracker();
  return (event) => {
    if (event.kind === 'snapshot' && event.isWarming) {
      createLog(io).info(`the API server ${serverName} has just started: replicas can be missing`);
    }
    return list.apply(event).map((change) => formatListChange(change, shownName, io));
  };
}
