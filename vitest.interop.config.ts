import { defineConfig } from 'vitest/config';

/** The suite that puts other implementations on the other end; it needs a Python, see .ci/run. */
export default defineConfig({
  test: { include: ['test/**/*.interop.ts'], globalSetup: 'test/support/temporary-folder.ts', allowOnly: false },
});
