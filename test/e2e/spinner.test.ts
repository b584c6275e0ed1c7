import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, startAtTerminal, stopAll } from '../support/binary.js';

const ERASE_LINE = '\r\u001b[K';

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  const path = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'slow.mjs');
  const pause = 'await new Promise((resolve) => setTimeout(resolve, 2500));';
  writeFileSync(
    path,
    `export default (app) => app
      .capability({ type: 'slow' }, async function* () { ${pause} yield { text: ['one '] }; yield { text: ['two'] }; })
      .capability({ type: 'broken' }, async () => { ${pause} throw new Error('no response today'); });`,
  );
  await start(['worker', path, '--port', '0', '--server', server]).waitForOutput(/^registered/m);
});

afterAll(stopAll);

/** Returns the text that remains on a terminal after all erasures. */
function renderTerminal(text: string): string {
  const lines = text.split('\n').map((line) => line.split(ERASE_LINE).at(-1));
  return lines.join('\n').replaceAll('\r', '');
}

describe('a spinner', () => {
  it('is shown in a terminal while a response is pending, and disappears when it arrives', async () => {
    const { code, stdout } = await startAtTerminal(['infer', 'slow', 'Hello', '--server', server]).ended;
    expect(code).toBe(0);
    expect(stdout).toContain(`${ERASE_LINE}| waiting for slow`);
    expect(stdout).toMatch(/\([12]s\)/);
    expect(renderTerminal(stdout)).toBe('one two\n');
  });

  it('disappears before an error, and does not come back', async () => {
    const { code, stdout } = await startAtTerminal(['infer', 'broken', 'Hello', '--server', server, '--no-retry'])
      .ended;
    expect(code).toBe(5);
    expect(stdout).toContain('waiting for broken');
    expect(renderTerminal(stdout)).toMatch(/^anyserve: [^\n]*no response today[^\n]*\n$/);
  });

  it('is shown in a conversation too', async () => {
    const chat = startAtTerminal(['chat', 'slow', '--server', server]);
    await chat.waitForOutput(/> /);
    chat.child.stdin?.write('Hello\r');
    await chat.waitForOutput(/two/);
    chat.child.stdin?.write('\u0004');
    const { stdout } = await chat.ended;
    expect(stdout).toContain('waiting for slow');
    expect(renderTerminal(stdout)).toContain('one two\n');
  });

  it('is not shown with --json, in a dumb terminal, or when stderr is not a terminal', async () => {
    const json = await startAtTerminal(['infer', 'slow', 'Hello', '--json', '--server', server]).ended;
    expect(JSON.parse(json.stdout)).toMatchObject({ text: 'one two' });
    const dumb = await startAtTerminal(['infer', 'slow', 'Hello', '--server', server], { TERM: 'dumb' }).ended;
    expect(dumb.stdout).toBe('one two\r\n');
    const piped = await run(['infer', 'slow', 'Hello', '--server', server]);
    expect(piped).toEqual({ code: 0, stdout: 'one two\n', stderr: '' });
  });
});
