import { clock, random } from '../system.js';
import { type Arguments, type CommandIo, waitForShutdown } from './command.js';
import { createLog } from './log-lines.js';

/** Time after the drain at which a process that has not exited is killed, in ms. */
const KILL_AFTER_DRAIN_MS = 5000;

/** Runs the processes of a gateway, each with the command line of this one. Resolves to the exit code. */
export async function runGatewayProcesses(
  count: number,
  drainMs: number,
  args: Arguments,
  io: CommandIo,
): Promise<number> {
  const { ProcessPool } = await import('../gateway/processes/process-pool.js');
  const pool = new ProcessPool({
    count,
    writeOutput: (lines) => io.stdout.write(lines),
    writeError: (lines) => io.stderr.write(lines),
    log: createLog(io, args),
    clock,
    random,
  });
  const shutdown = waitForShutdown(io);
  const started = await Promise.race([pool.start(), shutdown]);
  if (typeof started === 'object') {
    if (started.kind === 'failed') return started.exitCode;
    printListening(started.url, args, io);
  }
  const exitCode = await shutdown;
  await pool.stop(io.interrupted.reason, drainMs + KILL_AFTER_DRAIN_MS);
  return exitCode;
}

/** Prints the address of a gateway. */
export function printListening(url: string, args: Arguments, { stdout }: Pick<CommandIo, 'stdout'>): void {
  stdout.write(args.hasFlag('json') ? `${JSON.stringify({ listening: url })}\n` : `listening on ${url}/v1\n`);
}
