import { type ProgramExit, toExitCode } from '../client/supervised-process.js';
import { formatSeconds } from '../core/durations.js';
import type { HealthChange } from '../core/health.js';
import type { Replica } from '../core/replica.js';
import type { ChangePrinter } from './output.js';

/** Change of a model server that is monitored or run. */
export type ProgramChange =
  | HealthChange
  /** The program exited without being stopped. It is restarted after `retryInMs`; undefined: never. */
  | {
      readonly kind: 'ended';
      readonly program: string;
      readonly end: ProgramExit;
      readonly retryInMs: number | undefined;
    }
  /** The program, or a process it had started, did not exit in time and was killed. */
  | { readonly kind: 'killed'; readonly program: string; readonly afterMs: number };

/** Creates a reporter of a model server's changes. */
export function createProgramReporter(
  print: ChangePrinter,
  { id, endpoint }: Replica,
): (change: ProgramChange) => void {
  return (change) => {
    const record = { state: change.kind, replica_id: id, endpoint, ...toDetails(change) };
    print(change.kind === 'healthy', formatProgramChange(change), record);
  };
}

function formatProgramChange(change: ProgramChange): string {
  switch (change.kind) {
    case 'healthy':
      return 'healthy';
    case 'waiting':
      return `waiting for ${change.reason}`;
    case 'unhealthy':
      return `unhealthy, unregistered: ${change.reason}`;
    case 'ended':
      return `${formatEnd(change.program, change.end)}${formatRestart(change.retryInMs)}`;
    case 'killed':
      return `killed ${change.program}: still running after ${formatSeconds(change.afterMs)}`;
    default:
      return change satisfies never;
  }
}

function formatEnd(program: string, end: ProgramExit): string {
  return end.kind === 'exited'
    ? `ended: ${program}, exit code ${end.exitCode}`
    : `ended: ${program}, signal ${end.signal}`;
}

function formatRestart(retryInMs: number | undefined): string {
  return retryInMs === undefined ? '' : `; restarting in ${formatSeconds(retryInMs)}`;
}

function toDetails(change: ProgramChange): Record<string, unknown> {
  switch (change.kind) {
    case 'healthy':
      return {};
    case 'waiting':
    case 'unhealthy':
      return { reason: change.reason };
    case 'ended':
      return {
        exit_code: toExitCode(change.end),
        signal: change.end.kind === 'signalled' ? change.end.signal : undefined,
        retry_in_ms: change.retryInMs === undefined ? undefined : Math.round(change.retryInMs),
      };
    case 'killed':
      return { after_ms: change.afterMs };
    default:
      return change satisfies never;
  }
}
