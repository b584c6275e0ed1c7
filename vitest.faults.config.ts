import { defineConfig } from 'vitest/config';

/** The suite that breaks real things: processes, networks, limits. It wants Linux and root, and the machine for itself. */
export default defineConfig({
  test: {
    include: ['test/**/*.fault.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
    disableConsoleIntercept: true,
  },
});
