import { connect, type Socket } from 'node:net';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { Random, RegistrationStore, RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import { Registry } from '../../src/core/registry.js';
import type { RegistryLimits } from '../../src/core/registry-limits.js';
import type { ScalarPairs } from '../../src/json/capability-json.js';
import { type ApiServerOptions, startHttpApi } from '../../src/server/api-server.js';
import type { ApiServer } from '../../src/server/api-server-handle.js';
import { RegistryParts } from '../../src/server/registry-parts.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import * as system from '../../src/system.js';
import { EventBus } from '../../src/telemetry/event-bus.js';
import { logEvents } from '../../src/telemetry/log-events.js';
import { createRecordingLog, replica, withEndpoint } from './replicas.js';

/** An API server for a test, with access to its registry and log lines. */
export interface TestApiServer extends ApiServer {
  readonly registry: Registry<SerializedReplica>;
  readonly log: ReturnType<typeof createRecordingLog>;
  readonly events: EventBus<RegistryEvent | ServerEvent>;
}

/** Starts an API server on loopback. Default port: a free one. */
export async function startTestApiServer({
  heartbeatMs = 2000,
  port = 0,
  ackTimeoutMs = 3000,
  warmingMs = 0,
  requestTimeoutMs = 10_000,
  limits,
  random = system.random as Random,
  store = new MemoryStore<SerializedReplica>(system.ids.createRegistryId()),
  ...options
}: Partial<ApiServerOptions> & {
  readonly random?: Random;
  readonly limits?: RegistryLimits;
  readonly store?: RegistrationStore<SerializedReplica>;
} = {}): Promise<TestApiServer> {
  const log = createRecordingLog();
  const events = new EventBus<RegistryEvent | ServerEvent>();
  events.subscribe(logEvents(log, system.clock));
  const { clock, ids } = system;
  const registry = new Registry({
    store,
    clock: system.clock,
    random,
    ids: system.ids,
    events,
    limits,
  });
  const times = { heartbeatMs, ackTimeoutMs, warmingMs, requestTimeoutMs };
  const server = await startHttpApi({
    parts: new RegistryParts({ registry, events, clock, random, ids }),
    clock,
    events,
    ...times,
    host: '127.0.0.1',
    machineName: 'machine.test',
    // The host name in the hand-written requests of the tests.
    allowedHosts: ['x'],
    port,
    ...options,
  });
  return { ...server, registry, log, events };
}

/** A TCP connection, with everything that was received on it so far. */
export interface RawConnection {
  readonly socket: Socket;
  received(): string;
}

/** Connects to loopback from an address (default: 127.0.0.1) and sends a text byte for byte. */
export function openRawConnection(port: number, text: string, localAddress?: string): RawConnection {
  const socket = connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true });
  let received = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    received += chunk;
  });
  socket.on('error', () => {});
  socket.write(text, 'latin1');
  return { socket, received: () => received };
}

/** Returns a complete `POST /register` request with this body. */
export function formatRegisterRequest(body: string, { version = '1.1' } = {}): string {
  const bytes = Buffer.from(body);
  return `POST /register HTTP/${version}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes.toString('latin1')}`;
}

/** Returns the body of a registration. */
export function formatRegistrationBody(id: string, capabilities: unknown[] = [{ type: 'chat' }]): string {
  return JSON.stringify({ replica_id: id, endpoint: `${id}.test:1`, capabilities });
}

/** Registers an engine, which offers the model `m` by default. The returned function removes it. */
export async function registerEngine(
  { registry }: TestApiServer,
  id: string,
  endpoint: string,
  capabilities: readonly ScalarPairs[],
): Promise<() => Promise<unknown>> {
  const offered = replica(id, ...(capabilities.length > 0 ? capabilities : [{ model: 'm' }]));
  const serialized = new SerializedReplica(withEndpoint(offered, endpoint));
  const lease = await registry.register(serialized, { host: '127.0.0.1' }, () => {});
  return async () => registry.release(lease, 'closed');
}
