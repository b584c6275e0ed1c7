import { type ProgramExit, toExitCode } from '../client/supervised-process.js';
import type { HealthChange } from '../core/health.js';
import type { Replica } from '../core/replica.js';
import type { CommandIo } from './command.js';
import { createChangePrinter, formatSeconds } from './output.js';

/** What happens to a model server that is watched over, or run. */
export type ProgramChange =
  | HealthChange
  /** It has ended by itself; it is started again after `retryInMs`, or not at all. */
  | {
      readonly kind: 'ended';
      readonly program: string;
      readonly end: ProgramExit;
      readonly retryInMs: number | undefined;
    }
  /** What is left of it did not end in time, and has been killed. */
  | { readonly kind: 'killed'; readonly program: string; readonly afterMs: number };

/** Tells each change of a model server: a line for people, or a JSON object a line. */
export function createProgramReporter(
  json: boolean,
  { id, endpoint }: Replica,
  io: Pick<CommandIo, 'stdout' | 'env'>,
): (change: ProgramChange) => void {
  const tell = createChangePrinter(json, io);
  return (change) => {
    const told = { state: change.kind, replica_id: id, endpoint, ...details(change) };
    tell(change.kind === 'healthy', sentence(change), told);
  };
}

function sentence(change: ProgramChange): string {
  switch (change.kind) {
    case 'healthy':
      return 'healthy';
    case 'waiting':
      return `waiting for ${change.reason}`;
    case 'unhealthy':
      return `unhealthy, out of the list: ${change.reason}`;
    case 'ended':
      return `${endSentence(change.program, change.end)}${restartSentence(change.retryInMs)}`;
    case 'killed':
      return `killed ${change.program}: it still ran after ${formatSeconds(change.afterMs)}`;
    default:
      return change satisfies never;
  }
}

function endSentence(program: string, end: ProgramExit): string {
  return end.kind === 'exited'
    ? `ended: ${program}, with exit code ${end.exitCode}`
    : `ended: ${program}, by ${end.signal}`;
}

function restartSentence(retryInMs: number | undefined): string {
  return retryInMs === undefined ? '' : `; starting it again in ${formatSeconds(retryInMs)}`;
}

function details(change: ProgramChange): Record<string, unknown> {
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
