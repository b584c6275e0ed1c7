import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, start, stopAll } from '../support/binary.js';
import { findRow, hasBrowser, launchBrowser, openDashboard } from '../support/dashboard-page.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

let browser: Browser;

beforeAll(async () => {
  if (hasBrowser) browser = await launchBrowser();
});

afterAll(() => browser?.close());

afterEach(async () => {
  for (const context of browser?.contexts() ?? []) await context.close();
  await stopAll();
});

async function startServer(...options: readonly string[]): Promise<[Running, string]> {
  const server = start(['serve', ...options]);
  return [server, await server.waitForOutput(/listening on (http:\S+)/)];
}

const REPLICA = ['register', '--id', 'r1', '--endpoint', 'r1.test:1', '--cap', 'model=qwen2', '--server'];

describe.skipIf(!hasBrowser)('a dashboard', () => {
  it('says that the connection is lost, shows what it knows, and says that it is back', async () => {
    const port = String(await findFreePort());
    const [server, url] = await startServer('--port', port);
    start([...REPLICA, url]);
    const dashboard = await openDashboard(browser, url);
    await until('the replica is shown', async () => (await findRow(dashboard, 'r1')) !== undefined);
    await server.stop('SIGKILL');
    await dashboard.untilText('The connection to the API server is lost.');
    expect(await findRow(dashboard, 'r1')).toBeDefined();
    expect(await dashboard.page.innerText('.connection')).toBe('not connected');
    await startServer('--port', port);
    await dashboard.untilText(/Connected again after \d+\.\d s/);
    await until('the replica is back', async () => (await findRow(dashboard, 'r1'))?.[2] === 'ready');
    await until('the banner leaves', async () => (await dashboard.page.$('.banner')) === null);
    expect(await dashboard.page.innerText('.connection')).toBe('live');
    expect(dashboard.errors).toEqual([]);
  });

  it('notices a server that is frozen, by its silence', async () => {
    const [server, url] = await startServer('--port', '0');
    const dashboard = await openDashboard(browser, url);
    await dashboard.untilText('live');
    server.child.kill('SIGSTOP');
    await dashboard.untilText('the server sent nothing for 15 s');
    server.child.kill('SIGCONT');
    await dashboard.untilText('Connected again');
  });

  it('asks once for a token, refuses a wrong one, and keeps a right one until the tab is closed', async () => {
    const file = join(tmpdir(), `read-token-${process.pid}`);
    writeFileSync(file, 'right-token\n');
    const [, url] = await startServer('--port', '0', '--read-token-file', file);
    const dashboard = await openDashboard(browser, url);
    await dashboard.untilText('This API server needs a token.');
    await dashboard.page.fill('input[type=password]', 'wrong-token');
    await dashboard.page.keyboard.press('Enter');
    await dashboard.untilText('The server does not know this token.');
    await dashboard.page.fill('input[type=password]', ' right-token ');
    await dashboard.page.click('text=Show the fleet');
    await dashboard.untilText('No replica is registered.');
    await dashboard.page.reload();
    await dashboard.untilText('No replica is registered.');
    expect(dashboard.page.url()).not.toContain('token');
    await dashboard.page.click('text=Forget the token');
    await dashboard.untilText('This API server needs a token.');
    const other = await openDashboard(browser, url);
    await other.untilText('This API server needs a token.');
    expect(dashboard.errors).toEqual([]);
  });

  it('asks no other host than its own', async () => {
    const [, url] = await startServer('--port', '0');
    const page = await browser.newPage();
    const hosts = new Set<string>();
    page.on('request', (request) => hosts.add(new URL(request.url()).host));
    await page.goto(url);
    await page.waitForSelector('text=No replica is registered.');
    expect([...hosts]).toEqual([new URL(url).host]);
  });
});
