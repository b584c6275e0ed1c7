import { defineConfig } from 'vitest/config';

/** Fault tests: they break real processes, networks and limits. They need Linux, root, and a machine without other load. */
export default defineConfig({
  test: {
    include: ['test/**/*.fault.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 60_000,
    disableConsoleIntercept: true,
  },
});
