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
