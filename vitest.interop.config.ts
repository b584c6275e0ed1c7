import { defineConfig } from 'vitest/config';

/** Interop tests with programs of other projects. They need nginx, haproxy and Python (see .ci/run). At most two files run at a time, because the programs are large. */
export default defineConfig({
  test: {
    include: ['test/**/*.interop.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
