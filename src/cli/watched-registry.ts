import type { WatchEvent } from '../api/watch-events.js';
import type { ApiClient } from '../client/api-client.js';
import { combineFailures } from '../client/api-failure.js';
import { waitForDrain } from '../client/async-waits.js';
import { followStream } from '../client/followed-stream.js';
import { runForEachServer } from '../client/per-server.js';
import { RegistryClaims } from '../client/registry-claims.js';
import type { ServerAddress } from '../client/server-list.js';
import { formatSeconds } from '../core/durations.js';
import type { AnyserveError } from '../core/errors.js';
import type { CapabilityFilter } from '../core/selector.js';
import { clock, random } from '../system.js';
import { type CommandIo, getShutdownExitCode } from './command.js';
import { createLog } from './log-lines.js';
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
  { query, selector }: CapabilityFilter,
  { isJson, io }: WatchRegistryOptions,
): Promise<number> {
  const hasSeveral = (await api.servers.get()).length > 1;
  const allFailed = new AbortController();
  const signal = AbortSignal.any([io.interrupted, io.stdoutClosed, allFailed.signal]);
  const claims = new RegistryClaims();
  /** The last error of each server that has sent nothing yet; undefined before it failed. */
  const pending = new Map<ServerAddress, AnyserveError | undefined>();
  let hasEvents = false;
  const reportFailure = (server: ServerAddress, error: AnyserveError, plan: string): void => {
    pending.set(server, error);
    if (!hasEvents && [...pending.values()].every(Boolean)) allFailed.abort();
    else createLog(io).warn(`${error.message}${plan}`);
  };
  const watchServer = async (server: ServerAddress, ended: AbortSignal): Promise<void> => {
    pending.set(server, undefined);
    const format = createFormat(hasSeveral ? server.name : undefined, server.name, { isJson, io });
    const onEvent = async (event: WatchEvent): Promise<void> => {
      hasEvents = true;
      for (const line of format(event)) if (!io.stdout.write(line)) await waitForDrain(io.stdout, signal);
    };
    const onLost = (error: AnyserveError, retryInMs: number): void =>
      reportFailure(server, error, `; retrying in ${formatSeconds(retryInMs)}`);
    await followStream(api.watch(server, query, { selector }), {
      clock,
      random,
      signal: ended,
      claims,
      onEvent,
      onLost,
    })
      .catch((error: AnyserveError) => reportFailure(server, error, ''))
      .finally(() => ended.aborted && !signal.aborted && pending.delete(server));
  };
  await runForEachServer(api.servers, watchServer, { signal });
  if (io.interrupted.aborted) return getShutdownExitCode(io.interrupted);
  if (io.stdoutClosed.aborted) return 0;
  throw combineFailures([...pending.values()].filter((error) => error !== undefined));
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
