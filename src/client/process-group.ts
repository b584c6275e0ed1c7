import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Sends a signal to every process of a group that there is. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // Nobody is left, or nobody whom we may signal.
  }
}

/**
 * Whether a process of the group still runs. One that has ended and was not waited for by its parent does not count,
 * although the system still knows the group by it: in a container that parent can be this very process, for want of
 * another, and nothing would ever take it away.
 */
export function isGroupAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch {
    return false;
  }
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    // A system that does not show its processes there.
    return true;
  }
  return names.some((name) => /^\d+$/.test(name) && runsIn(group, name));
}

/** Whether a process runs and is of the group. Source: proc(5), `/proc/pid/stat`. */
function runsIn(group: number, pid: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in brackets, which may hold any character, is followed by state, parent and group.
    const [state, , groupOf] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(groupOf) === group && state !== 'Z' && state !== 'X';
  } catch {
    // It has just gone.
    return false;
  }
}

/**
 * Waits until its standard input ends, which the system sees to however we end, and then ends the group: with SIGTERM, and
 * with SIGKILL what is left of it after 3 s.
 */
const GUARD_SCRIPT = `
  read -r _
  kill -s TERM -- "-$1" || exit 0
  for _ in 1 2 3; do sleep 1; kill -s 0 -- "-$1" || exit 0; done
  kill -s KILL -- "-$1"
`;

/**
 * Ends a process group when this process is gone without having done so, as after SIGKILL. Linux can signal a child at the
 * death of its parent, but Node cannot ask for it, and other systems have no such thing. So a shell of 1 MB waits at the other
 * end of a pipe. Call what is returned when the group has ended: its number can then belong to others.
 */
export function guardProcessGroup(group: number): () => void {
  // In a session of its own: neither a terminal's Ctrl-C nor the end of the group is for it.
  const guard = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'sh', String(group)], {
    argv0: 'anyserve-orphan-guard',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Some containers have no shell. There, the end of the container ends the group.
  guard.on('error', () => {});
  guard.stdin?.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?(): void } | null)?.unref?.();
  return () => guard.kill('SIGKILL');
}
