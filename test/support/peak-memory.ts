import { readFileSync } from 'node:fs';
import { BINARY, type Outcome, startProgram } from './binary.js';

/** Python program that runs a command and prints the peak of its resident memory, as measured by the kernel. */
const WITH_PEAK = `
import os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.stderr.write("\\npeak %d\\n" % usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128)
`;

/** Outcome of a command, with the peak of its resident memory in MB. */
export interface MeasuredOutcome extends Outcome {
  readonly peakMb: number;
}

/** Runs the binary until it ends or `stopAfterMs` has passed, and measures its peak memory from outside. */
export async function runMeasured(
  args: readonly string[],
  { stopAfterMs }: { readonly stopAfterMs?: number } = {},
): Promise<MeasuredOutcome> {
  const limit = stopAfterMs === undefined ? [] : ['timeout', '-s', 'INT', '-k', '5', String(stopAfterMs / 1000)];
  const running = startProgram(['python3', '-c', WITH_PEAK, ...limit, process.execPath, BINARY, ...args]);
  running.child.stdin?.end();
  const outcome = await running.ended;
  const [, kilobytes] = /\npeak (\d+)\n$/.exec(outcome.stderr) ?? [];
  if (kilobytes === undefined) throw new Error(`peak memory was not printed: ${outcome.stderr}`);
  return { ...outcome, stderr: outcome.stderr.replace(/\npeak \d+\n$/, ''), peakMb: Number(kilobytes) / 1000 };
}

/** Returns the peak of a running process's resident memory so far, in bytes, as measured by the kernel. */
export function readPeakRssBytes(pid: number): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kilobytes === undefined) throw new Error(`/proc has no peak memory of process ${pid}`);
  return Number(kilobytes) * 1024;
}
