import { defineConfig } from 'vitest/config';
import interop from './vitest.interop.config.js';

/** Larger programs of other people, run by hand with `.ci/interop`, which installs them. */
export default defineConfig({ test: { ...interop.test, include: ['test/**/*.by-hand.ts'] } });
