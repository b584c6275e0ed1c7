import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ClientTls } from '../../../src/core/tls.js';
import { EngineClient } from '../../../src/http/engine-client/engine-client.js';
import { createAuthority } from '../../support/certificates.js';
import { recordCall } from '../../support/engine-responses.js';
import { ManualClock } from '../../support/manual-clock.js';

const [authority, other] = [createAuthority(), createAuthority('other')];
let server: Server;
let port: number;
let connections = 0;
let client: EngineClient | undefined;

beforeAll(async () => {
  server = createServer(authority.sign('server'), (request, response) => {
    response.end(`${(request.socket as TLSSocket).servername || 'no name'} ${request.headers.host}`);
  });
  server.on('secureConnection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterEach(() => client?.close());
afterAll(() => void server.close());

async function call(origin: string, tls: () => ClientTls): Promise<ReturnType<typeof recordCall>> {
  client ??= new EngineClient({ clock: new ManualClock(), tls });
  const recorded = recordCall(client, origin);
  await recorded.ended;
  return recorded;
}

describe('an engine with TLS', () => {
  afterEach(() => {
    client = undefined;
  });

  it.each(['localhost', '127.0.0.1'])('is verified with the given authority: %s', async (host) => {
    const { body, failure } = await call(`https://${host}:${port}`, () => ({ ca: authority.cert }));
    expect(failure).toBeUndefined();
    expect(body).toBe(`${host === 'localhost' ? host : 'no name'} ${host}:${port}`);
  });

  it('of another authority fails the call before anything is sent', async () => {
    const { failure } = await call(`https://localhost:${port}`, () => ({ ca: other.cert }));
    expect(failure?.kind).toBe('connect_failed');
    expect(failure?.message).toContain('is not signed by a trusted authority');
  });

  it('is not verified with settings that cannot be parsed', async () => {
    const { failure } = await call(`https://localhost:${port}`, () => ({ ca: '' }));
    expect(failure).toMatchObject({ kind: 'connect_failed', message: expect.stringContaining('tls.ca is empty') });
    client = undefined;
    const unparsable = await call(`https://localhost:${port}`, () => ({ cert: 'x', key: 'y' }));
    expect(unparsable.failure?.kind).toBe('connect_failed');
  });

  it('gets a new connection when the settings change', async () => {
    let settings = { ca: authority.cert };
    const before = connections;
    for (let index = 0; index < 3; index++) await call(`https://localhost:${port}`, () => settings);
    expect(connections - before).toBe(1);
    settings = { ca: `${authority.cert}${other.cert}` };
    expect((await call(`https://localhost:${port}`, () => settings)).failure).toBeUndefined();
    expect(connections - before).toBe(2);
  });
});
