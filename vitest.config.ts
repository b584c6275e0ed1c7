import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    // A forgotten `it.only` must fail the run instead of silently skipping all other tests.
    allowOnly: false,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
