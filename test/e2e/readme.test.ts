import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { BINARY } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = ['README.md', 'docs/tour.md', 'docs/selectors.md'];

/** Returns the fenced blocks of a page that are in a language, in order. */
function getBlocks(page: string, language: string): string[] {
  const text = readFileSync(join(PROJECT, page), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(([, text]) => text ?? '');
}

interface Step {
  readonly command: string;
  readonly output: string;
  /** Whether the command runs in the background. */
  readonly stays: boolean;
}

/** Returns the commands of a page's console blocks, each with the output that the page shows. */
function getSteps(page: string): Step[] {
  return getBlocks(page, 'console').flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((step) => {
        const [command = '', ...output] = step.split('\n');
        return { command: command.replace(/ &$/, ''), output: output.join('\n'), stays: command.endsWith(' &') };
      }),
  );
}

const children = new Set<ChildProcess>();

afterEach(() => {
  for (const { pid } of children) {
    try {
      // The whole process group, because the shell has children.
      process.kill(-(pid as number), 'SIGKILL');
    } catch {
      // The process has already exited.
    }
  }
  children.clear();
});

/** Waits until a process that got a signal has ended. On a busy machine that can be after the next command. */
async function waitForEnd(child: ChildProcess | undefined): Promise<void> {
  await until('it has ended', () => child?.exitCode !== null || child.signalCode !== null);
}

/** Replaces the times, which differ from run to run, and the column widths that depend on them. */
function normalizeTimes(output: string): string {
  return output
    .trimEnd()
    .replace(/\b\d+[smhd]\b/g, '<time>')
    .replace(/ {2,}/g, '   ');
}

describe('the README and the tour', () => {
  it('name the commands that set up and run the project', () => {
    const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
    expect(getBlocks('README.md', 'sh').map((block) => block.trim())).toEqual([
      'npm ci && npm run multiserver',
      'npm ci && npm test',
      'npm ci && npm run llm',
    ]);
    expect(scripts.llm).toContain('node examples/llm/run.js');
    expect(scripts['llm:chat']).toContain('node examples/llm/run.js');
    expect(scripts.multiserver).toContain('node examples/multiserver/run.js');
    expect(scripts.test).toContain('vitest run');
  });

  it.each(PAGES)('%s shows what its commands print', async (page) => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-readme-'));
    writeFileSync(join(folder, 'anyserve'), `#!/bin/sh\nexec "${process.execPath}" "${BINARY}" "$@"\n`);
    chmodSync(join(folder, 'anyserve'), 0o755);
    const module = getBlocks('README.md', 'js').find((block) => block.startsWith('// my-worker.js')) ?? '';
    writeFileSync(join(folder, 'my-worker.mjs'), module);

    // The ports on the page can be in use on this machine, so free ports replace them in commands and outputs.
    const ports = { 8080: await findFreePort(), 50051: await findFreePort(), 50052: await findFreePort() };
    const replacePorts = (text: string): string =>
      Object.entries(ports).reduce((changed, [shown, real]) => changed.replaceAll(shown, String(real)), text);
    const formatCommand = (text: string): string =>
      replacePorts(text)
        .replace(/^anyserve serve/, `anyserve serve --port ${ports[8080]}`)
        .replace(/^anyserve worker --backend/, `anyserve worker --port ${ports[50051]} --backend`)
        .replace('my-worker.js', 'my-worker.mjs')
        // Each command runs in its own shell, which does not know the jobs of the others.
        .replace(/^kill %(\d)$/, (_command, job) => `kill -- -${staying[Number(job) - 1]?.pid}`);
    const env = {
      ...process.env,
      PATH: `${folder}:${process.env['PATH']}`,
      ANYSERVE_SERVER: `http://localhost:${ports[8080]}`,
    };

    const staying: ChildProcess[] = [];
    const steps = getSteps(page);
    expect(steps.length).toBeGreaterThan(2);
    for (const step of steps) {
      const child = spawn('bash', ['-c', formatCommand(step.command)], {
        cwd: folder,
        env,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      children.add(child);
      if (step.stays) staying.push(child);
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (chunk) => {
        output += chunk;
      });
      let errors = '';
      child.stderr.setEncoding('utf8').on('data', (chunk) => {
        errors += chunk;
      });
      const describeProgress = (what: string) => (): string => `"${step.command}" ${what}; so far: ${output}${errors}`;
      let ended = false;
      child.once('close', () => {
        ended = true;
      });
      const expected = replacePorts(step.output);
      if (step.stays) {
        await until(describeProgress('prints what the page shows'), () => output.startsWith(expected.trimEnd()));
      } else {
        await until(describeProgress('ends'), () => ended);
        const [, job] = /^kill %(\d)$/.exec(step.command) ?? [];
        if (job !== undefined) await waitForEnd(staying[Number(job) - 1]);
        expect({ command: step.command, output: normalizeTimes(output) }).toEqual({
          command: step.command,
          output: normalizeTimes(expected),
        });
      }
    }
  });
});
