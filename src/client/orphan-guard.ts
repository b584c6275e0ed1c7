import { spawn } from 'node:child_process';

/**
 * Waits until its standard input ends, which the system sees to however we end, and then ends the group: with SIGTERM, and
 * with SIGKILL what is left of it after 3 s.
 */
const SCRIPT = `
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
export function guardGroup(group: number): () => void {
  // In a session of its own: neither a terminal's Ctrl-C nor the end of the group is for it.
  const guard = spawn('/bin/sh', ['-c', SCRIPT, 'sh', String(group)], {
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
