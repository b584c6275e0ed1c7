import { isDeepStrictEqual } from 'node:util';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { type GatewayOptions, startHttpGateway } from '../../src/compose-gateway.js';
import type { LeaseId } from '../../src/core/ids.js';
import type { ReplicaLoad } from '../../src/core/load.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import type { ScalarPairs } from '../../src/json/capability-json.js';
import type { FinishedCall } from '../../src/telemetry/finished-call.js';
import type { RefusedRequest } from '../../src/telemetry/refused-request.js';
import { startTestApiServer } from './api-server.js';
import { createRecordingLog, replica, withEndpoint } from './replicas.js';
import { until } from './until.js';

interface ModelsResponse {
  readonly data: readonly { readonly id: string }[];
}

/** A gateway for a test, with an API server of its own. */
export async function startTestGateway(options: Partial<GatewayOptions> = {}, key?: string) {
  const authorization: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const server = await startTestApiServer();
  const finished: FinishedCall[] = [];
  const refused: RefusedRequest[] = [];
  const gateway = await startHttpGateway({
    servers: [server.url],
    access: {},
    host: '127.0.0.1',
    port: 0,
    log: createRecordingLog(),
    aliases: new Map(),
    selector: EMPTY_SELECTOR,
    pick: 'round-robin',
    upstreamNetworks: [],
    allowedPaths: [],
    passedHeaders: [],
    maxBodyBytes: 1024 * 1024,
    maxTotalBytes: 4 * 1024 * 1024,
    maxQueuedCalls: 100,
    queueTimeoutMs: 30_000,
    onFinish: (call) => finished.push(call),
    onRefuse: (request) => refused.push(request),
    ...options,
  });
  const leases = new Map<string, LeaseId>();
  /** Reports the load of a replica. The gateway receives it within 5 s. */
  const reportLoad = (id: string, load: ReplicaLoad): void =>
    server.registry.loads.record(leases.get(id) as LeaseId, load);
  /** Registers a replica. The returned function removes it. */
  const register = async (
    id: string,
    endpoint: string,
    ...capabilities: ScalarPairs[]
  ): Promise<() => Promise<unknown>> => {
    const offered = withEndpoint(replica(id, ...(capabilities.length > 0 ? capabilities : [{ model: 'm' }])), endpoint);
    const lease = await server.registry.register(new SerializedReplica(offered), { host: '127.0.0.1' }, () => {});
    leases.set(id, lease);
    return async () => server.registry.release(lease, 'closed');
  };
  /** Waits until the gateway lists exactly these models. */
  const waitForModels = (...names: string[]): Promise<void> =>
    until(`the gateway lists ${names}`, async () => {
      const { data } = (await (
        await fetch(`${gateway.url}/v1/models`, { headers: authorization })
      ).json()) as ModelsResponse;
      return isDeepStrictEqual(
        data.map(({ id }) => id),
        names,
      );
    });
  const post = (
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
    redirect: 'follow' | 'manual' = 'follow',
  ): Promise<Response> =>
    fetch(`${gateway.url}${path}`, {
      method: 'POST',
      redirect,
      headers: { 'content-type': 'application/json', ...authorization, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return {
    server,
    gateway,
    finished,
    refused,
    register,
    reportLoad,
    post,
    waitForModels,
    async close(): Promise<void> {
      await gateway.close();
      await server.close();
    },
  };
}
