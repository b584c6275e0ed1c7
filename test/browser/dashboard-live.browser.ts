import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Running, run, start, startProgram, stopAll } from '../support/binary.js';
import { findRow, hasBrowser, launchBrowser, type OpenDashboard, openDashboard } from '../support/dashboard-page.js';
import { until } from '../support/until.js';

let browser: Browser;
let url: string;
let dashboard: OpenDashboard;

beforeAll(async () => {
  if (hasBrowser) browser = await launchBrowser();
});

afterAll(() => browser?.close());

afterEach(async () => {
  await dashboard?.page.close();
  await stopAll();
});

beforeEach(async () => {
  if (!hasBrowser) return;
  url = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  dashboard = await openDashboard(browser, url);
});

/** Registers a replica, and returns the running command. */
async function register(id: string, ...options: readonly string[]): Promise<Running> {
  const registering = start(['register', '--id', id, '--endpoint', `${id}.test:1`, '--server', url, ...options]);
  await registering.waitForOutput(/registered/);
  return registering;
}

const untilRow = (id: string, isExpected: (row: string[] | undefined) => boolean): Promise<void> =>
  until(`the row of ${id} is as expected`, async () => isExpected(await findRow(dashboard, id)), 60_000);

describe.skipIf(!hasBrowser)('without a reload, the dashboard shows', () => {
  it('replicas that come, that operators cordon, and that leave, each with its reason', async () => {
    await dashboard.untilText('No replica is registered.');
    const replica = await register('r1', '--cap', 'model=qwen2,type=chat');
    await untilRow('r1', (row) => row?.[2] === 'ready');
    expect((await findRow(dashboard, 'r1'))?.slice(1, 5)).toEqual([
      'r1.test:1',
      'ready',
      expect.stringMatching(/^\d+s$/),
      'model=qwen2,type=chat',
    ]);
    await run(['cordon', 'r1', '--reason', 'new disk', '--server', url]);
    await untilRow('r1', (row) => row?.[2] === 'cordoned');
    await run(['uncordon', 'r1', '--server', url]);
    await untilRow('r1', (row) => row?.[2] === 'ready');
    await replica.stop('SIGTERM');
    await untilRow('r1', (row) => row === undefined);
    await dashboard.untilText('Nobody offers qwen2 (chat) any more. The last was r1: released.');
    await dashboard.page.click('text=Dismiss');
    await until('it is dismissed', async () => !(await dashboard.page.innerText('body')).includes('Nobody offers'));
    await dashboard.show('events');
    await until('all events are shown', async () => (await dashboard.readRows()).length >= 4);
    const rows = await dashboard.readRows();
    expect(rows.slice(0, 4).map(([, kind, id]) => `${kind} ${id}`)).toEqual([
      'removed r1',
      'uncordoned r1',
      'cordoned r1',
      'registered r1',
    ]);
    expect(rows[0]?.[3]).toMatch(/^released, host 127\.0\.0\.1, lived /);
    expect(dashboard.errors).toEqual([]);
  });

  it('a replica whose process is killed, within a second', async () => {
    const replica = await register('r1', '--cap', 'model=qwen2,type=chat');
    await untilRow('r1', (row) => row?.[2] === 'ready');
    replica.child.kill('SIGKILL');
    const killedAt = Date.now();
    await untilRow('r1', (row) => row === undefined);
    expect(Date.now() - killedAt).toBeLessThan(5000);
    await dashboard.untilText('The last was r1: closed.');
  });

  it('a replica that freezes, when its lease expires, and that it is back', async () => {
    const replica = await register('r1', '--cap', 'model=qwen2,type=chat');
    await untilRow('r1', (row) => row?.[2] === 'ready');
    replica.child.kill('SIGSTOP');
    await dashboard.untilText('The last was r1: expired.');
    replica.child.kill('SIGCONT');
    await untilRow('r1', (row) => row?.[2] === 'ready');
    await until('nobody misses it', async () => !(await dashboard.page.innerText('body')).includes('Nobody offers'));
  });

  it('a worker that drains, and the calls that run there', async () => {
    const module = `export default (app) => app.capability({ type: 'slow' }, async () => { await new Promise((done) => process.once('SIGUSR2', done)); return { x: 'done' }; });`;
    const program = `import { writeFileSync } from 'node:fs'; writeFileSync(process.env.FILE, ${JSON.stringify(module)});`;
    const file = `${process.env['TMPDIR'] ?? '/tmp'}/slow-${process.pid}.mjs`;
    await startProgram([process.execPath, '--input-type=module', '-e', program], { env: { FILE: file } }).ended;
    const args = ['worker', file, '--port', '0', '--id', 'w1', '--server', url];
    const worker = start(args, { env: { ANYSERVE_DRAIN_DELAY: '3s' } });
    await worker.waitForOutput(/registered/);
    await untilRow('w1', (row) => row?.[2] === 'ready');
    const call = run(['infer', 'slow', '--prompt', 'x', '--server', url, '--timeout', '100s']);
    await untilRow('w1', (row) => row?.[5] === '1');
    worker.child.kill('SIGTERM');
    await untilRow('w1', (row) => row?.[2] === 'draining');
    await dashboard.untilText('No replica of type slow is ready: 1 registered (draining).');
    worker.child.kill('SIGUSR2');
    expect((await call).code).toBe(0);
    await untilRow('w1', (row) => row === undefined);
  });

  it('models with those who offer them, and a click on one shows its replicas', async () => {
    for (const id of ['a', 'b']) await register(id, '--cap', 'model=qwen2,type=chat');
    await register('c', '--cap', 'model=bge,type=embed');
    await dashboard.show('models');
    await until('both models are there', async () => (await dashboard.readRows()).length === 2);
    await until('two replicas are ready', async () => (await dashboard.readRows())[1]?.[2] === '2');
    expect((await dashboard.readRows()).map((row) => [row[0], row[1], row[2], row[3], row[6]])).toEqual([
      ['bge', 'embed', '1', '1', 'c'],
      ['qwen2', 'chat', '2', '2', 'a, b'],
    ]);
    await dashboard.page.click('.grid-body [role="row"]:nth-child(2)');
    await until('its replicas are shown', async () => (await dashboard.readRows()).length === 2);
    expect(await dashboard.page.inputValue('.filters input')).toBe('model=qwen2, type=chat');
  });

  it('which rows pass a filter, and where a filter is wrong', async () => {
    await register('a', '--cap', 'type=chat,zone=a');
    await register('b', '--cap', 'type=chat,zone=b');
    await untilRow('b', (row) => row !== undefined);
    await dashboard.page.fill('.filters input >> nth=0', 'zone in (b)');
    await until('one row is left', async () => (await dashboard.readRows()).length === 1);
    await dashboard.page.fill('.filters input >> nth=0', 'zone in (b');
    await dashboard.untilText('expected "," or ")" at character 11, but the selector ends there');
    expect((await dashboard.readRows()).map(([id]) => id)).toEqual(['b']);
    expect(await dashboard.page.getAttribute('.filters input >> nth=0', 'aria-invalid')).toBe('true');
  });

  it('who would answer a call, and why others would not', async () => {
    await register('a', '--cap', 'type=chat,zone=a');
    await register('b', '--cap', 'type=chat,zone=b');
    await dashboard.show('ask');
    await dashboard.page.fill('.question input', 'type=chat zone=b');
    await dashboard.page.keyboard.press('Enter');
    await dashboard.untilText('wanted zone=b, has zone=a');
    expect(await dashboard.page.innerText('.answer')).toMatch(/1 ready replica offers .*: "b"/i);
    await dashboard.page.fill('.question input', 'type=chta');
    await dashboard.page.keyboard.press('Enter');
    await dashboard.untilText('did you mean type=chat?');
  });

  it('texts of replicas as text, whatever they are', async () => {
    const attack = '<img src=x onerror=alert(1)>';
    const capability = { model: `<script>alert(1)</script>\u202e`, [attack]: attack };
    const body = { replica_id: attack, endpoint: 'a.test:1', capabilities: [capability] };
    const headers = { 'content-type': 'application/json' };
    const lease = await fetch(`${url}/register`, { method: 'POST', headers, body: JSON.stringify(body) });
    await untilRow(attack, (row) => row?.[4]?.includes('<script>alert(1)</script>\\u202e') ?? false);
    await dashboard.page.click('.grid-body [role="row"]');
    expect(await dashboard.page.innerText('dialog h2')).toBe(attack);
    expect(await dashboard.page.$$('img, .grid script, dialog script')).toEqual([]);
    const isRefused = await dashboard.page.evaluate(() => {
      try {
        document.body.innerHTML = '<b>';
        return false;
      } catch {
        return true;
      }
    });
    expect(isRefused).toBe(true);
    await lease.body?.cancel();
  });
});
