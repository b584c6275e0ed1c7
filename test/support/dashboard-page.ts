import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { until } from './until.js';

const CHROMIUM = process.env['ANYSERVE_TEST_CHROMIUM'] ?? '/usr/bin/chromium';

/** Whether the browser tests can run. Reports the reason if they can't. */
export const hasBrowser = existsSync(CHROMIUM);
if (!hasBrowser) console.warn(`skipped: there is no browser at ${CHROMIUM}; install Debian's chromium`);

/** Starts a browser. It has no sandbox, because tests also run as root. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
}

/** How a page is shown. */
export interface PageView {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: 'light' | 'dark';
}

/** The dashboard in a browser. */
export interface OpenDashboard {
  readonly page: Page;
  /** Errors of scripts and of the content security policy. */
  readonly errors: readonly string[];
  /** Returns the rows of the current table, with the texts of their cells. */
  readRows(): Promise<string[][]>;
  /** Waits until the page contains a text. */
  untilText(text: string | RegExp): Promise<void>;
  show(view: 'replicas' | 'models' | 'events' | 'ask'): Promise<void>;
}

/** Opens the dashboard of a server. It follows the redirect from the address of the server, as people do. */
export async function openDashboard(
  browser: Browser,
  url: string,
  { width = 1280, height = 800, scheme = 'light' }: PageView = {},
): Promise<OpenDashboard> {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    // Failed requests are expected: servers end, and refuse tokens.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) errors.push(message.text());
  });
  await page.goto(url);
  const readRows = (): Promise<string[][]> =>
    page.$$eval('.grid-body [role="row"]', (rows) =>
      rows.map((row) => [...row.children].map((cell) => (cell as HTMLElement).innerText)),
    );
  return {
    page,
    errors,
    readRows,
    untilText: (text) =>
      until(
        `the page has ${text}`,
        async () => {
          const shown = await page.innerText('body');
          return typeof text === 'string' ? shown.includes(text) : text.test(shown);
        },
        60_000,
      ),
    async show(view) {
      await page.evaluate((name) => {
        location.hash = `#${name}`;
      }, view);
      await page.waitForSelector(`.view.is-${view}`);
    },
  };
}

/** Returns the row of a replica; undefined if it isn't shown. */
export async function findRow({ readRows }: OpenDashboard, id: string): Promise<string[] | undefined> {
  return (await readRows()).find(([first]) => first === id);
}
