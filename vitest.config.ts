import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/temporary-folder.ts',
    // A forgotten `it.only` must fail the run instead of silently skipping all other tests.
    allowOnly: false,
    // Most tests wait for processes and timers. The default, one worker less than cores, leaves half of a machine with 2 cores idle.
    maxWorkers: availableParallelism() + 1,
    // The longest tests take 20 s on an idle machine.
    testTimeout: 180_000,
    hookTimeout: 120_000,
  },
});
