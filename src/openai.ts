import './node-version.js';

import { ApiClient } from './client/api-client.js';
import { createRequestFilter } from './client/http-calls/forwarded-headers.js';
import { HttpCaller } from './client/http-calls/http-caller.js';
import { HttpChannels } from './client/http-calls/http-channel.js';
import { ModelFleet } from './client/model-fleet.js';
import { checkFetchOptions, type FetchOptions, type ModelFetch } from './client/openai-fetch/fetch-options.js';
import { OpenaiFetch } from './client/openai-fetch/openai-fetch.js';
import { createPairs } from './core/capability.js';
import { DEFAULTS } from './core/defaults.js';
import { toGetter, toTokenGetter } from './core/options.js';
import { parseSelector } from './core/selector-parser.js';
import { createKeyLookup } from './credentials/upstream-keys.js';
import { createAddressCheck } from './http/engine-client/address-check.js';
import { clock, random } from './system.js';

export type { FetchOptions, ModelFetch } from './client/openai-fetch/fetch-options.js';

/**
 * Creates a `fetch` for OpenAI clients that calls replicas directly, without a gateway: each request goes to a replica that
 * offers its model, and to another one if that fails. Throws `usage` for invalid options.
 *
 * ```ts
 * const fetch = createFetch({ server: 'http://localhost:8080' });
 * const openai = new OpenAI({ baseURL: 'http://anyserve/v1', apiKey: '-', fetch });
 * ```
 */
export function createFetch(options: FetchOptions): ModelFetch {
  checkFetchOptions(options);
  const { server, capability = {}, where = '', prefer = '', pick = 'p2c', timeoutMs } = options;
  const keys = createKeyLookup(options.keys ?? {}, 'option keys');
  const channels = new HttpChannels({
    clock,
    tls: toGetter(options.tls),
    checkAddress: createAddressCheck(options.allowNetworks ?? [], 'option allowNetworks', keys.has),
    getAuthorization: (origin) => {
      const key = keys.get(origin);
      return key && `Bearer ${key}`;
    },
    firstByteTimeoutMs: options.firstByteTimeoutMs ?? DEFAULTS.upstreamTimeoutMs,
    idleTimeoutMs: options.streamIdleTimeoutMs ?? DEFAULTS.upstreamIdleTimeoutMs,
  });
  const query = createPairs(Object.entries(capability).map(([key, value]) => [key, String(value)] as const));
  const selector = parseSelector(where, 'where');
  const servers = typeof server === 'string' ? [server] : server;
  const fleet = new ModelFleet({
    api: new ApiClient({ servers, clock, token: toTokenGetter(options.token), tls: toGetter(options.tls) }),
    query,
    selector,
    pick,
    onRemoved: (endpoint) => channels.dropEndpoint(endpoint),
    clock,
    random,
  });
  const caller = new HttpCaller({ ...options, channels, clock, random });
  const calls = new OpenaiFetch({
    fleet,
    caller,
    conditions: { query, selector, preference: parseSelector(prefer, 'prefer') },
    filterHeaders: createRequestFilter(options.passHeaders ?? []),
    hasAffinity: pick === 'affinity',
    timeoutMs,
    startedEpochMs: clock.epochMs(),
  });
  return Object.assign((...args: Parameters<typeof fetch>) => calls.fetch(...args), {
    replicas: () => fleet.listReplicas('http'),
    async close() {
      caller.close();
      fleet.close();
    },
  });
}
