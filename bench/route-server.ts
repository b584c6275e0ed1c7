/**
 * Starts one of the servers that the benchmark of `GET /route` compares, and prints its port.
 * Usage: route-server.js KIND REPLICAS
 */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fastify } from 'fastify';
import { parseRegistration } from '../src/api/registration.js';
import type { SerializedReplica } from '../src/api/serialized-replica.js';
import { PreparedQuery } from '../src/core/index/prepared-query.js';
import { Registry } from '../src/core/registry.js';
import { createApiApp } from '../src/server/api-app.js';
import { type ApiServerOptions, startHttpApi } from '../src/server/api-server.js';
import { Readiness } from '../src/server/readiness.js';
import { RegistryParts } from '../src/server/registry-parts.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { ServerMetrics } from '../src/telemetry/server-metrics.js';

const BODY = '{"endpoint":"replica-7.test:50051","replica_id":"replica-7"}';

/** Dead-peer detection is not needed: all replicas are registered directly, not over HTTP. */
const NO_LEASES = {
  watch: () => {
    throw new Error('the benchmark registers no replica over HTTP');
  },
};

const SILENT = { emit: () => {}, subscribe: () => () => {} };

/** Creates a registry of `size` replicas with 200 models and 5 types. */
async function createRegistry(size: number): Promise<Registry<SerializedReplica>> {
  const registry = new Registry({
    store: new MemoryStore<SerializedReplica>(ids.createRegistryId()),
    clock,
    random,
    ids,
    events: SILENT,
  });
  for (let n = 0; n < size; n++) {
    const pairs = { model: `model-${n % 200}`, type: `type-${n % 5}`, gpu: `gpu-${n % 4}`, region: `region-${n % 8}` };
    const registration = { replica_id: `replica-${n}`, endpoint: `replica-${n}.test:50051`, capabilities: [pairs] };
    const outcome = parseRegistration(JSON.stringify(registration));
    if (outcome.kind === 'registration') await registry.register(outcome.replica, { host: '127.0.0.1' }, () => {});
  }
  return registry;
}

const createAppOptions = (registry: Registry<SerializedReplica>) => ({
  parts: new RegistryParts({ registry, events: SILENT, clock, random, ids }),
  clock,
  events: SILENT,
  heartbeatMs: 2000,
  ackTimeoutMs: 3000,
  warmingMs: 0,
});

async function listenOnApi(options: Omit<ApiServerOptions, 'host' | 'port' | 'machineName'>): Promise<number> {
  return (await startHttpApi({ ...options, host: '127.0.0.1', port: 0 })).port;
}

function listenOn(handler: RequestListener): Promise<number> {
  const server = createServer(handler);
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

/** The compared servers. Each function starts a server with `size` replicas and resolves to its port. */
const SERVERS: Readonly<Record<string, (size: number) => Promise<number>>> = {
  async bare() {
    const headers = { 'content-length': BODY.length, 'content-type': 'application/json' };
    return await listenOn((_request, response) => response.writeHead(200, headers).end(BODY));
  },
  async anyserve(size) {
    const registry = await createRegistry(size);
    const metrics = new ServerMetrics({ registry, store: {}, keys: ['model'], clock, version: '1' });
    return await listenOnApi({ ...createAppOptions(registry), metrics });
  },
  async 'anyserve without metrics'(size) {
    return await listenOnApi(createAppOptions(await createRegistry(size)));
  },
  async 'ordinary express'(size) {
    const readiness = new Readiness();
    return await listenOn(
      createApiApp({ ...createAppOptions(await createRegistry(size)), readiness, deadPeers: NO_LEASES }).app,
    );
  },
  async fastify(size) {
    const registry = await createRegistry(size);
    const app = fastify();
    app.get('/route', (request, reply) => {
      const pairs = Object.entries(request.query as Record<string, string>).flat();
      const found = registry.route(new PreparedQuery(pairs), new Set());
      if (!found) return reply.code(404).send({ detail: 'no matching replica' });
      return reply.send({ endpoint: found.endpoint, replica_id: found.id });
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return (app.server.address() as AddressInfo).port;
  },
};

const [kind = '', size] = process.argv.slice(2);
console.log(await SERVERS[kind]?.(Number(size)));
