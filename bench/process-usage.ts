/** Processor time and memory of other processes, which Linux has in `/proc`. */
import { readdirSync, readFileSync } from 'node:fs';

/**
 * Returns the processor time that a process and its children have used, in µs. The kernel counts it exactly for each thread that
 * runs; `stat` has it in ticks of 10 ms, which is a fifth of what some rounds take.
 */
export function readProcessorUs(pid: number): number {
  const counters = listTree(pid).flatMap((each) =>
    listThreads(each).map((thread) => readProc(each, `task/${thread}/schedstat`)),
  );
  return counters.reduce((totalUs, text) => totalUs + Number(text.split(' ')[0]) / 1000, 0);
}

/** Returns the memory of a process and its children that is in RAM, in bytes. */
export function readResidentBytes(pid: number): number {
  return listTree(pid).reduce(
    (total, each) => total + 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readProc(each, 'status'))?.[1] ?? 0),
    0,
  );
}

function listTree(pid: number): number[] {
  const children = listThreads(pid).flatMap((thread) => readProc(pid, `task/${thread}/children`).split(' '));
  return [pid, ...children.filter((child) => child.trim() !== '').flatMap((child) => listTree(Number(child)))];
}

function listThreads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Returns a file of a process; empty if it has ended. */
function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
