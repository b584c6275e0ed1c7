import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Sends a signal to every process of a group. Does nothing if the group has ended. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // No process is left, or none that we are allowed to signal.
  }
}

/**
 * Returns whether a process of the group is still running. A zombie doesn't count, although the system still knows the
 * group by it: in a container without an init process, orphans become our own children, and nothing would ever reap them.
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
    // This system has no /proc.
    return true;
  }
  return names.some((name) => /^\d+$/.test(name) && isRunningIn(group, name));
}

/** Returns whether a process is running and belongs to the group. Source: proc(5), `/proc/pid/stat`. */
function isRunningIn(group: number, pid: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The fields after the name are state, parent and group. The name is in parentheses and can contain any character.
    const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(processGroup) === group && state !== 'Z' && state !== 'X';
  } catch {
    // The process has just ended.
    return false;
  }
}

/**
 * Script of the guard. The system closes its standard input when our process ends for any reason. The script then sends
 * SIGTERM to the group, and 3 s later SIGKILL to the remaining processes.
 */
const GUARD_SCRIPT = `
  read -r _
  kill -s TERM -- "-$1" || exit 0
  for _ in 1 2 3; do sleep 1; kill -s 0 -- "-$1" || exit 0; done
  kill -s KILL -- "-$1"
`;

/**
 * Starts a guard that ends a process group if this process ends without doing so, for example after SIGKILL. Linux can
 * signal a child when its parent ends (PR_SET_PDEATHSIG), but Node doesn't support it, and other systems don't have it. So
 * a shell, which takes 1 MB, waits at the other end of a pipe. Returns a function that stops the guard. Call it when the
 * group has ended, because another group can get the same id then.
 */
export function guardProcessGroup(group: number): () => void {
  // `detached` gives the guard its own session, so that neither Ctrl-C in a terminal nor a signal to the group reaches it.
  const guard = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'sh', String(group)], {
    argv0: 'anyserve-orphan-guard',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Some containers have no shell. There, the group ends with the container.
  guard.on('error', () => {});
  guard.stdin?.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?(): void } | null)?.unref?.();
  return () => guard.kill('SIGKILL');
}
