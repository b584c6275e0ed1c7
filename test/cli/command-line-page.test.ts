import { expect, it } from 'vitest';
import { generateCommandLinePage } from '../support/command-line-page.js';

it('docs/command-line.md is up to date; "npm run docs" regenerates it', async () => {
  await expect(await generateCommandLinePage()).toMatchFileSnapshot('../../docs/command-line.md');
});
