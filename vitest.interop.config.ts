import { defineConfig } from 'vitest/config';

/** Runs other people's programs on the other end; needs nginx, haproxy and a Python, see .ci/run. One at a time, as they are large. */
export default defineConfig({
  test: {
    include: ['test/**/*.interop.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    fileParallelism: false,
  },
});
