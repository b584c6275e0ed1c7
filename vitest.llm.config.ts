import { defineConfig } from 'vitest/config';

/** Tests with a real language model. They need the packages of examples/llm, which `npm run test:llm` installs. */
export default defineConfig({
  test: {
    include: ['test/**/*.llm.ts'],
    // The tests write the same model file.
    fileParallelism: false,
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    testTimeout: 300_000,
    hookTimeout: 60_000,
  },
});
