import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { BINARY } from '../support/binary.js';
import { freePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const README = readFileSync(join(PROJECT, 'README.md'), 'utf8');

/** The fenced blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    ([, text]) => text ?? '',
  );
}

interface Step {
  readonly command: string;
  readonly output: string;
  /** Whether it goes on in the background. */
  readonly stays: boolean;
}

/** The commands of the console blocks, each with the output that the README shows. */
function steps(): Step[] {
  return blocks('console').flatMap((block) =>
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

afterAll(() => {
  for (const { pid } of children) {
    try {
      // The whole group: a shell's own children, too.
      process.kill(-(pid as number), 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
});

/** An output without the times that differ from run to run, and the columns' widths that go with them. */
function timeless(output: string): string {
  return output
    .trimEnd()
    .replace(/\b\d+[smhd]\b/g, '<time>')
    .replace(/ {2,}/g, '   ');
}

describe('the README', () => {
  it('names the commands that set up and run', () => {
    const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
    expect(blocks('sh').map((block) => block.trim())).toEqual([
      'npm ci && npm run multiserver',
      'npm ci && npm run llm',
      'npm ci && npm test',
    ]);
    expect(scripts.llm).toContain('node examples/llm/run.js');
    expect(scripts.multiserver).toContain('node examples/multiserver/run.js');
    expect(scripts.test).toContain('vitest run');
  });

  it('shows what its commands really print', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-readme-'));
    writeFileSync(join(folder, 'anyserve'), `#!/bin/sh\nexec "${process.execPath}" "${BINARY}" "$@"\n`);
    chmodSync(join(folder, 'anyserve'), 0o755);
    const module = blocks('js').find((block) => block.startsWith('// my-worker.js')) ?? '';
    writeFileSync(join(folder, 'my-worker.mjs'), module);

    // The ports of the page may be taken on this machine; others stand in for them, in commands and outputs alike.
    const ports = { 8080: await freePort(), 50051: await freePort(), 50052: await freePort() };
    const here = (text: string): string =>
      Object.entries(ports).reduce((changed, [shown, real]) => changed.replaceAll(shown, String(real)), text);
    const command = (text: string): string =>
      here(text)
        .replace(/^anyserve serve/, `anyserve serve --port ${ports[8080]}`)
        .replace(/^anyserve worker --backend/, `anyserve worker --port ${ports[50051]} --backend`)
        .replace('my-worker.js', 'my-worker.mjs')
        // A shell that runs one command knows no jobs of others.
        .replace(/^kill %(\d)$/, (_command, job) => `kill -- -${staying[Number(job) - 1]?.pid}`);
    const env = {
      ...process.env,
      PATH: `${folder}:${process.env['PATH']}`,
      ANYSERVE_SERVER: `http://localhost:${ports[8080]}`,
    };

    const staying: ChildProcess[] = [];
    const all = steps();
    expect(all.length).toBeGreaterThan(10);
    for (const step of all) {
      const child = spawn('bash', ['-c', command(step.command)], {
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
      const soFar = (what: string) => (): string => `"${step.command}" ${what}; so far: ${output}${errors}`;
      let ended = false;
      child.once('close', () => {
        ended = true;
      });
      const expected = here(step.output);
      if (step.stays) {
        await until(soFar('prints what the README shows'), () => output.startsWith(expected.trimEnd()), 20_000);
      } else {
        await until(soFar('ends'), () => ended, 20_000);
        expect({ command: step.command, output: timeless(output) }).toEqual({
          command: step.command,
          output: timeless(expected),
        });
      }
    }
  }, 90_000);
});
