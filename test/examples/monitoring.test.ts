import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { METRIC_FAMILIES, PROCESS_METRICS } from '../../src/telemetry/metric-families.js';

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), '../../examples/monitoring');
const hasPromtool = spawnSync('promtool', ['--version']).status === 0;

const readExample = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');

/** Names of metrics that exist: our families, the series of histograms, and what Prometheus itself adds. */
function listKnownNames(): ReadonlySet<string> {
  const own = Object.entries(METRIC_FAMILIES).flatMap(([name, { type }]) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => `${name}${end}`) : [name],
  );
  return new Set([...own, ...PROCESS_METRICS, 'up']);
}

/** Names of metrics in expressions: words with a known beginning, without those in braces, which are labels. */
const listUsedNames = (text: string): string[] =>
  text.replaceAll(/\{[^}]*\}|by \([^)]*\)/g, '').match(/\b(?:anyserve|http|rpc|gen_ai|process|nodejs)_\w+|\bup\b/g) ??
  [];

interface Dashboard {
  readonly panels: readonly { readonly id: number; readonly targets?: readonly { readonly expr: string }[] }[];
}

describe('the monitoring example', () => {
  it('uses only metrics that exist', () => {
    const { panels } = JSON.parse(readExample('dashboard.json')) as Dashboard;
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    // The text of an alert can name metrics too.
    const used = [...expressions, readExample('rules.yml')].flatMap(listUsedNames);
    expect(used.length).toBeGreaterThan(30);
    const known = listKnownNames();
    expect(used.filter((name) => !known.has(name))).toEqual([]);
  });

  it('shows each metric of ours', () => {
    const text = `${readExample('dashboard.json')}${readExample('rules.yml')}`;
    const unused = Object.keys(METRIC_FAMILIES).filter(
      (name) => !text.includes(name) && name !== 'anyserve_build_info',
    );
    expect(unused).toEqual([]);
  });

  it('has a different id for each panel', () => {
    const { panels } = JSON.parse(readExample('dashboard.json')) as Dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });

  it.skipIf(!hasPromtool)('has rules and a configuration that promtool accepts; skipped without promtool', () => {
    for (const args of [
      ['check', 'rules', 'rules.yml'],
      ['check', 'config', 'prometheus.yml'],
      ['test', 'rules', 'rules-test.yml'],
    ]) {
      const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: FOLDER, encoding: 'utf8' });
      expect({ args, status, output: status === 0 ? '' : stdout + stderr }).toEqual({ args, status: 0, output: '' });
    }
  });
});
