import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    // A test that was left behind as the only one, or as one to come, must not pass for a suite.
    allowOnly: false,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
