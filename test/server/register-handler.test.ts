import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { Registry } from '../../src/core/registry.js';
import { BodyMemory } from '../../src/http/body-memory.js';
import { createHeartbeatWheel } from '../../src/server/heartbeat-wheel.js';
import { Readiness } from '../../src/server/readiness.js';
import { createRegisterHandler } from '../../src/server/register-handler.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ids, random } from '../../src/system.js';
import { formatRegisterRequest, formatRegistrationBody, openRawConnection } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingEvents, replica, TEST_REGISTRY } from '../support/replicas.js';

it('does not register a client that left while its request was read, nor supersede another lease', async () => {
  const [clock, events] = [new ManualClock(), createRecordingEvents()];
  const registry = new Registry({
    store: new MemoryStore<SerializedReplica>(TEST_REGISTRY),
    clock,
    random,
    ids,
    events,
  });
  const readiness = new Readiness();
  readiness.markServing();
  const deadPeers = { watch: () => () => {} };
  const handler = createRegisterHandler({
    registry,
    deadPeers,
    readiness,
    events,
    heartbeats: createHeartbeatWheel({ clock, intervalMs: 1000 }),
    bodies: new BodyMemory(),
  });
  const ends: unknown[] = [];
  await registry.register(new SerializedReplica(replica('r1')), { host: '10.0.0.1' }, (end) => void ends.push(end));
  let wasDestroyed = false;
  const handled = new Promise<void>((resolve) => {
    server.once('request', async (request, response) => {
      // Before the handler reads the end of the body.
      request.once('end', () => {
        request.socket.destroy();
        wasDestroyed = true;
      });
      await handler(request as never, response as never, () => {}, ['']);
      resolve();
    });
  });
  const connection = openRawConnection(await listen(), formatRegisterRequest(formatRegistrationBody('r1')));
  await handled;
  expect({ wasDestroyed, ends, replicas: registry.replicas().length }).toEqual({
    wasDestroyed: true,
    ends: [],
    replicas: 1,
  });
  connection.socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const server = createServer();

async function listen(): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
