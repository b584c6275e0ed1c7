import { defineConfig } from 'vitest/config';

/** Tests of the dashboard in a real browser. They need Chromium (Debian: chromium), and the speed test a machine without other load. */
export default defineConfig({
  test: {
    include: ['test/**/*.browser.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
