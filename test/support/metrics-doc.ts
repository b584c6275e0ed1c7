import {
  METRIC_FAMILIES,
  type MetricFamily,
  type MetricRole,
  PROCESS_METRICS,
} from '../../src/telemetry/metric-families.js';

const SECTIONS: readonly (readonly [role: MetricRole, title: string, text: string])[] = [
  [
    'serve',
    'API server',
    '`GET /metrics`, on its own port, behind the read token if there is one. `--metrics-keys model` adds `anyserve_offers`.',
  ],
  [
    'gateway',
    'Gateway',
    '`GET /metrics`, on its own port. With `--key-file`, it needs a key with `steer`, because the metrics have the names of all keys.',
  ],
  ['worker', 'Worker', '`GET /metrics` at `--metrics-port`, on the address `--metrics-host`.'],
  ['register', 'anyserve register', '`GET /metrics` at `--metrics-port`, on the address `--metrics-host`.'],
];

/** Generates docs/metrics.md from the table of families. */
export function generateMetricsPage(): string {
  return `# Metrics

AnyServe serves metrics in the format of Prometheus. The names that begin with \`http_\`, \`rpc_\` and \`gen_ai_\` are those of
OpenTelemetry's conventions, as Prometheus writes them. Values of labels come from closed sets, and no label is the id of a
replica: \`anyserve registry\` and \`anyserve events\` show single replicas. Models are limited to 1,000 (API server) and 500 (gateway).

Every API server counts all replicas of its registry. So rules must not add up servers: \`max by (model) (anyserve_offers)\`.
[examples/monitoring](../examples/monitoring/README.md) has alert rules and a dashboard that do this.

${SECTIONS.map(formatSection).join('\n')}
## Process

Each of them also has these metrics of its process:

${PROCESS_METRICS.map((name) => `- \`${name}\``).join('\n')}
`;
}

function formatSection([role, title, text]: (typeof SECTIONS)[number]): string {
  const families: [string, MetricFamily][] = Object.entries(METRIC_FAMILIES);
  const rows = families
    .filter(([, { roles }]) => roles.includes(role))
    .map(([name, { type, labels, help }]) => {
      const names = labels.map((label) => `\`${label}\``).join(', ');
      return `| \`${name}\` | ${type} | ${names} | ${help} |`;
    });
  return `## ${title}

${text}

| metric | type | labels | meaning |
|---|---|---|---|
${rows.join('\n')}
`;
}
