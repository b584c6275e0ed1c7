import type { ScalarPairs } from '../../src/json/capability-json.js';
import { createFetch, type FetchOptions } from '../../src/openai.js';
import { registerEngine, startTestApiServer } from './api-server.js';
import { until } from './until.js';

/** Base URL of the clients that use the fetch. Nothing has this address. */
export const BASE_URL = 'http://anyserve.invalid/v1';

/** A fetch of the library for a test, with an API server of its own. */
export async function startTestFetch(options: Partial<FetchOptions> = {}) {
  const server = await startTestApiServer();
  const fetch = createFetch({ server: server.url, pick: 'round-robin', ...options });
  /** Registers a replica, and waits until the fetch knows it if it has an HTTP API. The returned function removes it. */
  const register = async (
    id: string,
    endpoint: string,
    ...capabilities: ScalarPairs[]
  ): Promise<() => Promise<unknown>> => {
    const remove = await registerEngine(server, id, endpoint, capabilities);
    if (endpoint.startsWith('http'))
      await until(`the fetch knows ${id}`, async () => (await fetch.replicas()).some((known) => known.id === id));
    return remove;
  };
  const post = (path: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
    fetch(`${BASE_URL}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });
  return {
    server,
    fetch,
    register,
    post,
    async close(): Promise<void> {
      await fetch.close();
      await server.close();
    },
  };
}
