import { defineConfig } from 'vitest/config';

/** The suite that runs a real language model; it needs the packages of examples/llm, which `npm run test:llm` installs. */
export default defineConfig({
  test: {
    include: ['test/**/*.llm.ts'],
    // They make the same model file.
    fileParallelism: false,
    globalSetup: 'test/support/temporary-folder.ts',
    allowOnly: false,
    testTimeout: 120_000,
  },
});
