import { isDeepStrictEqual } from 'node:util';
import { type GatewayOptions, startHttpGateway } from '../../src/compose-gateway.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import type { FinishedCall } from '../../src/gateway/model-call.js';
import type { ScalarPairs } from '../../src/json/capability-json.js';
import { registerEngine, startTestApiServer } from './api-server.js';
import { until } from './until.js';

interface ModelsResponse {
  readonly data: readonly { readonly id: string }[];
}

/** A gateway for a test, with an API server of its own. */
export async function startTestGateway(options: Partial<GatewayOptions> = {}, key?: string) {
  const authorization: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const server = await startTestApiServer();
  const finished: FinishedCall[] = [];
  const gateway = await startHttpGateway({
    servers: [server.url],
    access: {},
    host: '127.0.0.1',
    port: 0,
    aliases: new Map(),
    selector: EMPTY_SELECTOR,
    pick: 'round-robin',
    upstreamNetworks: [],
    allowedPaths: [],
    passedHeaders: [],
    maxBodyBytes: 1024 * 1024,
    maxTotalBytes: 4 * 1024 * 1024,
    onFinish: (call) => finished.push(call),
    ...options,
  });
  /** Registers a replica. The returned function removes it. */
  const register = (id: string, endpoint: string, ...capabilities: ScalarPairs[]): Promise<() => Promise<unknown>> =>
    registerEngine(server, id, endpoint, capabilities);
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
  const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return {
    server,
    gateway,
    finished,
    register,
    post,
    waitForModels,
    async close(): Promise<void> {
      await gateway.close(0);
      await server.close();
    },
  };
}
