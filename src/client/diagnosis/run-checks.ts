import { parseAdvertised } from '../../core/endpoint.js';
import { getErrorMessage } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import type { ClientTls } from '../../core/tls.js';
import type { ApiClient } from '../api-client.js';
import { checkEndpoint } from './endpoint-check.js';
import type { CheckResult } from './machine-checks.js';
import { checkNodeVersion, checkOpenFileLimit, checkPort } from './machine-checks.js';
import { checkServer } from './server-checks.js';

/** Number of endpoints that are checked at once. */
const CONCURRENT_CHECKS = 16;

/** Subjects of the checks. */
export interface DiagnosisPlan {
  readonly ports: readonly number[];
  /** Endpoints to check. Empty: those of all replicas. */
  readonly endpoints: readonly string[];
  /** TLS settings for the API servers. */
  readonly tls: (() => ClientTls) | undefined;
  /** TLS settings for the replicas. Undefined: plaintext. */
  readonly callTls: (() => ClientTls) | undefined;
}

/** Clock and cancellation of the checks. */
interface DiagnosisEnvironment {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Checks this machine, each API server, and the endpoints. Yields each result as soon as it and those before it are known. */
export async function* runChecks(
  api: ApiClient,
  plan: DiagnosisPlan,
  environment: DiagnosisEnvironment,
): AsyncGenerator<CheckResult> {
  yield checkNodeVersion();
  yield await checkOpenFileLimit();
  for (const port of plan.ports) yield await checkPort(port);
  for (const server of await api.servers.get()) yield* checkServer(server, { api, tls: plan.tls, ...environment });
  yield* checkEndpoints(await listEndpoints(api, plan, environment.signal), plan, environment);
}

/** An endpoint to check, and its name in the results. */
interface CheckedEndpoint {
  readonly endpoint: string;
  readonly name: string;
}

/** Returns the endpoints of the plan, else those of all replicas. A list that can't be read was reported before. */
async function listEndpoints(
  api: ApiClient,
  { endpoints }: DiagnosisPlan,
  signal: AbortSignal,
): Promise<readonly CheckedEndpoint[]> {
  if (endpoints.length > 0) return endpoints.map((endpoint) => ({ endpoint, name: endpoint }));
  const list = await api.listReplicas({ signal }).catch(() => undefined);
  signal.throwIfAborted();
  return (list?.replicas ?? []).map(({ listed: { replica } }) => ({
    endpoint: replica.endpoint,
    name: `${replica.id} at ${replica.endpoint}`,
  }));
}

async function* checkEndpoints(
  endpoints: readonly CheckedEndpoint[],
  { callTls }: DiagnosisPlan,
  environment: DiagnosisEnvironment,
): AsyncGenerator<CheckResult> {
  const started: Promise<CheckResult>[] = [];
  for (const [at, _] of endpoints.entries()) {
    while (started.length < Math.min(endpoints.length, at + CONCURRENT_CHECKS)) {
      started.push(checkOne(endpoints[started.length] as CheckedEndpoint, callTls, environment));
    }
    yield await (started[at] as Promise<CheckResult>);
  }
}

async function checkOne(
  { endpoint, name }: CheckedEndpoint,
  tls: DiagnosisPlan['callTls'],
  environment: DiagnosisEnvironment,
): Promise<CheckResult> {
  try {
    return await checkEndpoint(parseAdvertised(endpoint), name, { tls, ...environment });
  } catch (error) {
    environment.signal.throwIfAborted();
    return { check: 'endpoint', target: name, status: 'failed', detail: getErrorMessage(error) };
  }
}
