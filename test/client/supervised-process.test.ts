import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { isGroupAlive } from '../../src/client/process-group.js';
import { type SupervisedProcess, startProgram, toExitCode } from '../../src/client/supervised-process.js';
import { clock } from '../../src/system.js';
import { until } from '../support/until.js';

const started: SupervisedProcess[] = [];

afterEach(async () => {
  for (const running of started.splice(0)) await running.end('SIGKILL', 5000);
});

async function startNode(code: string): Promise<SupervisedProcess> {
  return startSupervised(process.execPath, '-e', code);
}

async function startSupervised(...words: string[]): Promise<SupervisedProcess> {
  const running = await startProgram(words, clock);
  started.push(running);
  return running;
}

const STAY_ALIVE = 'setInterval(() => {}, 1000);';

describe('SupervisedProcess', () => {
  it('reports how the program ended', async () => {
    for (const [code, exitCode] of [
      ['', 0],
      ['process.exit(3)', 3],
      ['process.kill(process.pid, "SIGKILL")', 137],
      ['process.kill(process.pid, "SIGTERM")', 143],
    ] as const) {
      const running = await startNode(code);
      expect(toExitCode(await running.ended)).toBe(exitCode);
    }
  });

  it('names a program that it cannot find or cannot execute', async () => {
    await expect(startProgram(['no-such-program'], clock)).rejects.toMatchObject({
      code: 'program_not_found',
      exitCode: 127,
      message: 'program "no-such-program" not found; check its name and PATH',
    });
    await expect(startProgram(['/'], clock)).rejects.toMatchObject({
      code: 'program_not_executable',
      exitCode: 126,
      message: 'cannot run "/": it is not executable; see chmod +x',
    });
  });

  it('stops a program with a signal, without SIGKILL', async () => {
    const running = await startNode(STAY_ALIVE);
    expect(await running.end('SIGINT', 5000)).toBe(true);
    expect(await running.ended).toEqual({ kind: 'signalled', signal: 'SIGINT' });
  });

  it('kills a program that does not stop in time', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
    const ready = join(folder, 'ready');
    const running = await startSupervised('sh', '-c', `trap "" TERM; touch "${ready}"; while :; do sleep 1; done`);
    await until('the signal is ignored', () => existsSync(ready));
    expect(await running.end('SIGTERM', 100)).toBe(false);
    expect(await running.ended).toEqual({ kind: 'signalled', signal: 'SIGKILL' });
  });

  it('stops all processes that the program started', async () => {
    const running = await startSupervised('sh', '-c', 'sleep 60 & sleep 60 & exit 5');
    expect(await running.ended).toEqual({ kind: 'exited', exitCode: 5 });
    expect(isGroupAlive(running.group)).toBe(true);
    expect(await running.end('SIGTERM', 5000)).toBe(true);
    expect(isGroupAlive(running.group)).toBe(false);
  });

  it.runIf(process.platform === 'linux')('does not wait for zombie processes', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'pid');
    // A parent that moves to another process group and never waits for its child, which stays in the first group.
    const parent = `sleep 0.1 & exec setsid sh -c 'echo $$ > "${file}"; exec sleep 60'`;
    const running = await startSupervised('sh', '-c', `(${parent}) & exit 0`);
    await running.ended;
    await until('the other group is known', () => readFileSync(file, 'utf8').endsWith('\n'));
    await until('the group has ended', () => !isGroupAlive(running.group));
    expect(process.kill(-running.group, 0)).toBe(true);
    process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL');
  });

  it('leaves no event listener', async () => {
    const before = process.listenerCount('exit');
    const running = await startNode('');
    expect(process.listenerCount('exit')).toBe(before + 1);
    await running.end('SIGTERM', 5000);
    expect(process.listenerCount('exit')).toBe(before);
  });
});
