import { expect, it } from 'vitest';
import { generateMetricsPage } from '../support/metrics-doc.js';

it('docs/metrics.md is up to date; "npm run docs" regenerates it', async () => {
  await expect(generateMetricsPage()).toMatchFileSnapshot('../../docs/metrics.md');
});
