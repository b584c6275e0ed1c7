import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasBrowser, launchBrowser, openDashboard } from '../support/dashboard-page.js';
import { type DemoFleet, startDemoFleet } from '../support/demo-fleet.js';

/** `npm run docs:images` sets the variable. Otherwise the images are only made, so that a test changes no file of the project. */
const FOLDER =
  process.env['ANYSERVE_UPDATE_IMAGES'] === undefined
    ? mkdtempSync(join(tmpdir(), 'images-'))
    : fileURLToPath(new URL('../../docs/images', import.meta.url));

let browser: Browser;
let fleet: DemoFleet;

beforeAll(async () => {
  if (!hasBrowser) return;
  [browser, fleet] = await Promise.all([launchBrowser(), startDemoFleet()]);
});

afterAll(async () => {
  await browser?.close();
  await fleet?.close();
});

describe.skipIf(!hasBrowser)('the images of the documentation', () => {
  it.each(['light', 'dark'] as const)('show the dashboard, %s', async (scheme) => {
    const dashboard = await openDashboard(browser, fleet.url, { scheme, width: 1280, height: 760 });
    const { page } = dashboard;
    await dashboard.untilText('live');
    await dashboard.untilText('No replica of whisper-large (audio) is ready');
    // The states that need attention come first.
    await page.click('.sort >> text=State');
    await page.mouse.move(0, 0);
    // The address of the test is not the one that a reader has.
    await page.evaluate(() => {
      const line = document.querySelector('.server') as HTMLElement;
      line.textContent = `${line.textContent}`.replace(/^\S+/, 'registry.internal:8080');
    });
    const file = join(FOLDER, `dashboard-${scheme}.png`);
    await page.screenshot({ path: file });
    expect(readFileSync(file).subarray(1, 4).toString()).toBe('PNG');
    expect(dashboard.errors).toEqual([]);
    await page.close();
  });
});
