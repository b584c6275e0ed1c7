import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unsupported } from '../bin/node-version.js';

describe('the supported versions of Node.js', () => {
  it.each(['v20.19.0', 'v20.20.2', 'v22.12.0', 'v22.23.5', 'v23.0.0', 'v24.22.3', 'v100.1.2', 'v25.0.0-nightly'])(
    'include %s',
    (version) => {
      expect(unsupported(version)).toBeUndefined();
    },
  );

  it.each(['v0.10.48', 'v4.9.1', 'v12.22.12', 'v18.20.4', 'v20.9.0', 'v20.18.3'])(
    'exclude %s, which is too old',
    (version) => {
      expect(unsupported(version)).toBe(`anyserve needs Node.js 20.19 or newer; this is ${version}`);
    },
  );

  it.each(['v21.7.3', 'v22.0.0', 'v22.11.0'])('exclude %s, which is between two supported ranges', (version) => {
    expect(unsupported(version)).toBe(
      `anyserve needs Node.js 22.12 or newer, or 20.19 or a later 20; this is ${version}`,
    );
  });

  it('are the same in package.json', () => {
    const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect(engines.node).toBe('^20.19.0 || >=22.12.0');
  });
});
