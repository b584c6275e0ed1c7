import type { EventFilters } from '../api/event-query.js';
import type { ApiClient } from '../client/api-client.js';
import { waitForDrain } from '../client/async-waits.js';
import { followStream } from '../client/followed-stream.js';
import type { AnyserveError } from '../core/errors.js';
import { clock, random } from '../system.js';
import { type CommandIo, getShutdownExitCode } from './command.js';
import { type FormatEventLine, mergeByTime } from './event-lines.js';
import { createLog, formatSeconds } from './output.js';

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
  const records = mergeByTime(responses.map(({ server, value }) => ({ server, events: value.events })));
  for (const record of records) await print(format(record));
  const histories = new Map(responses.map(({ server, value }) => [server, value]));
  const refusals: AnyserveError[] = [];
  const servers = [...histories.keys(), ...failures.map(({ server }) => server)];
  await Promise.all(
    servers.map((server) => {
      const stream = api.events.follow(server, filters, histories.get(server));
      const failure = failures.find((one) => one.server === server)?.error;
      const reporter = createLossReporter(failure?.message, io);
      return followStream(stream, {
        clock,
        random,
        signal,
        onLost: reporter.onLost,
        onEvent(event) {
          reporter.onEvent();
          return print(format({ server, event }));
        },
      }).catch((error: AnyserveError) => {
        refusals.push(error);
        if (servers.length > 1) createLog(io).warn(error.message);
      });
    }),
  );
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
