import { defineConfig } from 'vitest/config';
import interop from './vitest.interop.config.js';

/** Interop tests with large programs of other projects. Run them with `.ci/interop`, which installs the programs. */
export default defineConfig({ test: { ...interop.test, include: ['test/**/*.by-hand.ts'], fileParallelism: false } });
