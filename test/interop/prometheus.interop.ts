import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, it } from 'vitest';
import { start, startProgram, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const hasPrometheus = spawnSync('prometheus', ['--version']).status === 0;

afterEach(stopAll);

/** Starts Prometheus with the rules of the example, which fire after a second instead of a minute. Returns its URL. */
async function startPrometheus(targets: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  const rules = readFileSync('examples/monitoring/rules.yml', 'utf8').replaceAll(/for: \d+m/g, 'for: 1s');
  writeFileSync(join(folder, 'rules.yml'), rules);
  const config = `
global: { scrape_interval: 500ms, evaluation_interval: 500ms }
rule_files: [rules.yml]
scrape_configs:
  - job_name: anyserve-api
    static_configs: [{ targets: ${JSON.stringify(targets)} }]
`;
  writeFileSync(join(folder, 'prometheus.yml'), config);
  const address = `127.0.0.1:${await findFreePort()}`;
  startProgram([
    'prometheus',
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
  ]);
  return `http://${address}`;
}

/** Lists the alerts that fire: the name, and the model or the server. */
async function listFiring(prometheus: string): Promise<string[]> {
  const response = await fetch(`${prometheus}/api/v1/alerts`).catch(() => undefined);
  if (!response?.ok) return [];
  const { data } = (await response.json()) as {
    data: { alerts: { state: string; labels: Record<string, string> }[] };
  };
  return data.alerts
    .filter(({ state }) => state === 'firing')
    .map(({ labels }) => `${labels['alertname']} ${labels['model'] ?? labels['instance'] ?? ''}`);
}

it.skipIf(!hasPrometheus)(
  'Prometheus alerts when nobody offers a model, and when an API server is down, until that is over; skipped without prometheus',
  async () => {
    const serve = (port: string) => start(['serve', '--port', port, '--metrics-keys', 'model']);
    const serving = serve(String(await findFreePort()));
    const url = await serving.waitForOutput(/listening on (http:\S+)/);
    const { host, port } = new URL(url);
    const prometheus = await startPrometheus([host]);
    const register = () =>
      start(['register', '--id', 'r1', '--endpoint', 'r1.test:1', '--cap', 'model=qwen', '--server', url]);
    const waitForAlerts = (alerts: readonly string[]) =>
      until(`alerts: ${alerts}`, async () => String(await listFiring(prometheus)) === String(alerts));
    const first = register();
    await first.waitForOutput(/registered r1/);
    const query = `${prometheus}/api/v1/query?query=anyserve_offers`;
    const readOffers = async () => (await fetch(query).catch(() => undefined))?.text();
    await until('the replica is counted', async () => (await readOffers())?.includes('"1"') ?? false);
    await waitForAlerts([]);
    await first.stop();
    await waitForAlerts(['AnyserveModelNotOffered qwen']);
    const second = register();
    await second.waitForOutput(/registered r1/);
    await waitForAlerts([]);
    await second.stop();
    await serving.stop('SIGKILL');
    await waitForAlerts([`AnyserveApiServerDown ${host}`]);
    serve(port);
    await waitForAlerts([]);
  },
);
