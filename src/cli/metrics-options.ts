import type { startMetricsServer } from '../compose.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import { parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';

/** Options of the commands that serve their metrics on a port of their own. */
export const METRICS_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'metrics-port': {
    type: 'text',
    value: 'PORT',
    description: 'serve metrics for Prometheus at /metrics on this TCP port; when not given, nothing is measured',
  },
  'metrics-host': {
    type: 'text',
    value: 'HOST',
    description: 'address to listen on for --metrics-port; everyone who can reach it can read the metrics',
    default: DEFAULTS.host,
  },
};

/**
 * Serves metrics if {@link METRICS_OPTIONS} say so. `create` is called then, and its result is served. Throws `usage`, and `failed` if
 * the port is taken.
 */
export async function serveMetrics<T extends Parameters<typeof startMetricsServer>[1]>(
  args: Arguments,
  create: () => Promise<T>,
): Promise<{ readonly metrics: T; readonly listener: { close(): Promise<void> } } | undefined> {
  const port = args.getText('metrics-port');
  if (port === undefined) {
    if (args.isGiven('metrics-host')) throw new AnyserveError('usage', '--metrics-host requires --metrics-port PORT');
    return undefined;
  }
  const address = { host: args.getText('metrics-host') ?? '', port: parseWholeNumber('metrics-port', port, 0, 65535) };
  const compose = await import('../compose.js');
  const metrics = await create();
  return { metrics, listener: await compose.startMetricsServer(address, metrics) };
}
