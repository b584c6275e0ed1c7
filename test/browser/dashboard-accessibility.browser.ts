import axe from 'axe-core';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasBrowser, launchBrowser, type OpenDashboard, openDashboard } from '../support/dashboard-page.js';
import { type DemoFleet, startDemoFleet } from '../support/demo-fleet.js';
import { until } from '../support/until.js';

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

/** Returns the violations that axe finds, and the elements that have them. */
async function findViolations({ page }: OpenDashboard): Promise<string[]> {
  // A page's policy doesn't apply to what the debugger evaluates.
  await page.evaluate(axe.source);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
  });
}

const VIEWS = ['replicas', 'models', 'events', 'ask'] as const;

describe.skipIf(!hasBrowser)('axe finds no violation', () => {
  it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 400],
    ['dark', 400],
  ] as const)('in %s at %i pixels, in any view', async (scheme, width) => {
    const dashboard = await openDashboard(browser, fleet.url, { scheme, width });
    await dashboard.untilText('No replica of whisper-large (audio) is ready');
    for (const view of VIEWS) {
      await dashboard.show(view);
      if (view === 'ask') {
        await dashboard.page.fill('.question input', 'type=chat zone=nowhere');
        await dashboard.page.keyboard.press('Enter');
        await dashboard.untilText(/Near misses: \d+/);
      }
      expect({ view, violations: await findViolations(dashboard) }).toEqual({ view, violations: [] });
    }
    await dashboard.show('replicas');
    await dashboard.page.fill('.filters input >> nth=0', 'wrong(');
    await dashboard.untilText('expected');
    await dashboard.page.click('.grid-body [role="row"]');
    await dashboard.page.waitForSelector('dialog[open]');
    expect(await findViolations(dashboard)).toEqual([]);
    await dashboard.page.close();
  });

  it.each([1280, 400])('in the page that asks for a token, at %i pixels', async (width) => {
    const dashboard = await openDashboard(browser, fleet.urlWithToken, { width });
    await dashboard.untilText('This API server needs a token.');
    expect(await findViolations(dashboard)).toEqual([]);
    await dashboard.page.close();
  });
});

describe.skipIf(!hasBrowser)('at 400 pixels', () => {
  it.each(VIEWS)('nothing of the view %s is wider than the window', async (view) => {
    const dashboard = await openDashboard(browser, fleet.url, { width: 400 });
    await dashboard.show(view);
    await dashboard.untilText('ready');
    const widths = await dashboard.page.evaluate(() => {
      const elements = [document.documentElement, ...document.querySelectorAll('.grid, .question, .summary, .top')];
      return elements.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth);
    });
    expect(widths.filter((excess) => excess > 0)).toEqual([]);
    await dashboard.page.close();
  });
});

describe.skipIf(!hasBrowser)('at 400 pixels, where columns have no heads', () => {
  it('the table can be sorted', async () => {
    const dashboard = await openDashboard(browser, fleet.url, { width: 400 });
    const { page } = dashboard;
    await until('there are rows', async () => (await dashboard.readRows()).length > 5);
    const readFirstState = async (): Promise<string | undefined> => (await dashboard.readRows())[0]?.[2];
    await page.selectOption('.sort-choice select', 'state');
    await until('the cordoned one is first', async () => (await readFirstState()) === 'cordoned');
    await page.click('.sort-choice button');
    await until('a ready one is first', async () => (await readFirstState()) === 'ready');
    await page.close();
  });
});

describe.skipIf(!hasBrowser)('with the keyboard', () => {
  it('a row is reached, opened and closed, and the focus returns', async () => {
    const dashboard = await openDashboard(browser, fleet.url);
    const { page } = dashboard;
    await until('there are rows', async () => (await dashboard.readRows()).length > 10);
    await page.focus('.grid');
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowUp');
    const activeId = await page.getAttribute('.grid', 'aria-activedescendant');
    expect(await page.getAttribute('.grid-row.is-active', 'id')).toBe(activeId);
    expect(await page.getAttribute('.grid-row.is-active', 'aria-rowindex')).toBe(
      String(Number(await page.getAttribute('.grid', 'aria-rowcount')) - 1),
    );
    const id = await page.innerText('.grid-row.is-active .is-id');
    await page.keyboard.press('Enter');
    expect(await page.innerText('dialog h2')).toBe(id);
    await page.keyboard.press('Escape');
    await page.waitForSelector('dialog', { state: 'detached' });
    expect(await page.evaluate(() => document.activeElement?.className)).toContain('grid');
    await page.close();
  });

  it('details are open as soon as they are in the page, so that no key is lost', async () => {
    const dashboard = await openDashboard(browser, fleet.url);
    const { page } = dashboard;
    await until('there are rows', async () => (await dashboard.readRows()).length > 10);
    await page.focus('.grid');
    await page.keyboard.press('ArrowDown');
    const isOpen = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const observer = new MutationObserver(() => {
            const dialog = document.querySelector('dialog');
            if (dialog) resolve(dialog.open);
          });
          observer.observe(document.body, { childList: true, subtree: true });
          document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
        }),
    );
    expect(isOpen).toBe(true);
    await page.close();
  });

  it('columns are sorted, and screen readers know by which', async () => {
    const dashboard = await openDashboard(browser, fleet.url);
    const { page } = dashboard;
    await until('there are rows', async () => (await dashboard.readRows()).length > 10);
    await page.focus('.sort >> text=Running');
    await page.keyboard.press('Enter');
    expect(await page.getAttribute('[role=columnheader].is-running', 'aria-sort')).toBe('descending');
    const counts = (await dashboard.readRows()).map((row) => row[5]).filter((text) => text !== '–');
    expect(counts.map(Number)).toEqual(counts.map(Number).sort((a, b) => b - a));
    await page.close();
  });
});
