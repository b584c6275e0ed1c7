import type { ReceivedEvent } from '../api/event-json.js';
import type { EventFilters } from '../api/event-query.js';
import type { ApiClient } from '../client/api-client.js';
import { waitForDrain } from '../client/async-waits.js';
import { dropSameProcess } from '../client/event-client.js';
import { followStream } from '../client/followed-stream.js';
import { runForEachServer } from '../client/per-server.js';
import type { ServerAddress } from '../client/server-list.js';
import { formatSeconds } from '../core/durations.js';
import type { AnyserveError } from '../core/errors.js';
import { clock, random } from '../system.js';
import { type CommandIo, getShutdownExitCode } from './command.js';
import { type FormatEventLine, mergeByTime } from './event-lines.js';
import { createLog } from './log-lines.js';

/** Options of {@link followEvents}. */
export interface FollowEventsOptions {
  readonly format: FormatEventLine;
  readonly io: CommandIo;
}

/**
 * Prints the history of all servers, merged by time, and then each new event. A server that fails is reported once, and
 * tried until it responds. Resolves to the exit code when the command is interrupted. Rejects if no server responds at
 * first, or if all refuse.
 */
export async function followEvents(
  api: ApiClient,
  filters: EventFilters,
  options: FollowEventsOptions,
): Promise<number> {
  const { format, io } = options;
  const signal = AbortSignal.any([io.interrupted, io.stdoutClosed]);
  const print = createPrinter(io, signal);
  const { responses, failures } = await api.events.list(filters, { signal });
  for (const { error } of failures) createLog(io).warn(error.message);
  const processes = dropSameProcess(responses);
  const records = mergeByTime(processes.map(({ server, value }) => ({ server, events: value.events })));
  for (const record of records) await print(format(record));
  const histories = new Map(processes.map(({ server, value }) => [server, value]));
  const sameProcess = new Set(responses.map(({ server }) => server).filter((server) => !histories.has(server)));
  const refusals: AnyserveError[] = [];
  const follow = async (server: ServerAddress, ended: AbortSignal): Promise<void> => {
    if (sameProcess.has(server)) return;
    const stream = api.events.follow(server, filters, histories.get(server));
    const reporter = createLossReporter(failures.find((one) => one.server === server)?.error.message, io);
    const onEvent = (event: ReceivedEvent): Promise<void> => {
      reporter.onEvent();
      return print(format({ server, event }));
    };
    await followStream(stream, { clock, random, signal: ended, onLost: reporter.onLost, onEvent }).catch(
      (error: AnyserveError) => {
        refusals.push(error);
        if (responses.length + failures.length > 1) createLog(io).warn(error.message);
      },
    );
  };
  await runForEachServer(api.servers, follow, { signal });
  const [refusal] = refusals;
  if (refusal && !signal.aborted) throw refusal;
  return io.interrupted.aborted ? getShutdownExitCode(io.interrupted) : 0;
}

/** Creates a function that prints a line, and waits for a slow reader of stdout. */
function createPrinter({ stdout }: CommandIo, signal: AbortSignal): (line: string) => Promise<void> {
  return async (line) => {
    if (!signal.aborted && !stdout.write(line)) await waitForDrain(stdout, signal);
  };
}

/** Creates a reporter of lost connections to a server. Reports the same failure once, until there is an event again. */
function createLossReporter(reportedAlready: string | undefined, io: CommandIo) {
  let reported = reportedAlready;
  return {
    onEvent() {
      reported = undefined;
    },
    onLost({ message }: AnyserveError, retryInMs: number) {
      if (message === reported) return;
      reported = message;
      createLog(io).warn(`${message}; retrying in ${formatSeconds(retryInMs)}`);
    },
  };
}
