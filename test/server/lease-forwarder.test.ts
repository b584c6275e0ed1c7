import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { parseScopeHeader } from '../../src/api/lease-owner.js';
import { asLeaseId, asRegistryId } from '../../src/core/ids.js';
import { createScope, WHOLE_REGISTRY } from '../../src/core/scope.js';
import { HttpConnections, type HttpRequest, type HttpResponse } from '../../src/http/http-client.js';
import { LeaseForwarder, type LeaseForwarderOptions } from '../../src/server/lease-forwarder.js';
import { findFreePort } from '../support/free-port.js';
import { ManualClock } from '../support/manual-clock.js';

const OWNER = 'http://10.0.0.1:8080';
const REGISTRY = asRegistryId('registry');
const RENEWAL = {
  method: 'PUT',
  lease: asLeaseId('l/1'),
  body: '{"state":"ready"}',
  scope: WHOLE_REGISTRY,
} as const;

/** Creates a forwarder whose requests are answered by a function. Without a response, a request waits for its signal. */
function createForwarder(
  respond: (request: HttpRequest) => Partial<HttpResponse> | undefined,
  options: Partial<LeaseForwarderOptions> = {},
) {
  const clock = new ManualClock();
  const sent: HttpRequest[] = [];
  const connections: LeaseForwarderOptions['connections'] = {
    send: (request) =>
      new Promise((resolve, reject) => {
        sent.push(request);
        const response = respond(request);
        const headers = { 'x-anyserve-registry': 'registry' };
        if (response) resolve({ status: 200, headers, peer: 'peer', body: Readable.from([]), ...response });
        request.signal?.addEventListener('abort', () => reject(new Error('aborted')));
      }),
    readText: async () => 'body',
    close() {},
  };
  return { clock, sent, forwarder: new LeaseForwarder({ connections, clock, requiresTls: false, ...options }) };
}

it('sends the request once, marked as forwarded and with its own token', async () => {
  const { forwarder, sent } = createForwarder(() => ({}), { token: () => 'peer-token' });
  const outcome = await forwarder.forward(OWNER, RENEWAL, REGISTRY);
  expect(outcome).toEqual({ kind: 'response', status: 200, body: 'body', retryAfter: undefined });
  expect(sent).toHaveLength(1);
  expect(sent[0]).toMatchObject({
    method: 'PUT',
    url: 'http://10.0.0.1:8080/leases/l%2F1',
    body: '{"state":"ready"}',
    headers: { 'x-anyserve-forwarded': '1', authorization: 'Bearer peer-token' },
  });
});

it('sends the scope of the token in ASCII', async () => {
  const { forwarder, sent } = createForwarder(() => ({}));
  const scope = createScope([['tenant', 'Größe "1"']]);
  await forwarder.forward(OWNER, { ...RENEWAL, scope }, REGISTRY);
  const header = sent[0]?.headers?.['x-anyserve-scope'];
  expect(header).toBe('[["tenant","Gr\\u00f6\\u00dfe \\"1\\""]]');
  expect(parseScopeHeader(`${header}`)).toEqual(scope);
});

it('waits 1 s for a frozen owner', async () => {
  const { forwarder, clock } = createForwarder(() => undefined);
  const outcome = forwarder.forward(OWNER, RENEWAL, REGISTRY);
  clock.advance(999);
  const early = await Promise.race([outcome, Promise.resolve('waits')]);
  clock.advance(1);
  expect([early, await outcome]).toEqual(['waits', { kind: 'unreachable', reason: 'no response within 1 s' }]);
});

it('has at most 250 requests at a frozen owner, and others get theirs', async () => {
  const { forwarder, sent, clock } = createForwarder(({ url }) => (url.startsWith(OWNER) ? undefined : {}));
  for (let n = 0; n < 250; n++) void forwarder.forward(OWNER, RENEWAL, REGISTRY);
  const refused = { kind: 'unsent', reason: 'too many forwarded requests have no response yet' };
  expect(await forwarder.forward(OWNER, RENEWAL, REGISTRY)).toEqual(refused);
  expect(await forwarder.forward('http://10.0.0.2:8080', RENEWAL, REGISTRY)).toMatchObject({ kind: 'response' });
  expect(sent).toHaveLength(251);
  clock.advance(1000);
  await new Promise((resolve) => setImmediate(resolve));
  void forwarder.forward(OWNER, RENEWAL, REGISTRY);
  expect(sent).toHaveLength(252);
});

it('has at most 1,000 requests at all owners', async () => {
  const { forwarder, sent } = createForwarder(() => undefined);
  for (let n = 0; n < 1100; n++) void forwarder.forward(`http://10.0.0.${n % 10}:8080`, RENEWAL, REGISTRY);
  await Promise.resolve();
  expect(sent).toHaveLength(1000);
});

it.each([200, 404, 409, 413, 422, 429, 503])('relays %i, with Retry-After', async (status) => {
  const headers = { 'x-anyserve-registry': 'registry', 'retry-after': '5' };
  const { forwarder } = createForwarder(() => ({ status, headers }));
  expect(await forwarder.forward(OWNER, RENEWAL, REGISTRY)).toMatchObject({ status, retryAfter: '5' });
});

it.each([
  [{ status: 401 }, 'it does not accept the peer token of this server'],
  [{ status: 403 }, 'it does not accept the peer token of this server'],
  [{ status: 500 }, 'it responds with status 500'],
  [{ status: 404, headers: {} }, 'an API server of another registry responds there'],
  [{ status: 200, headers: { 'x-anyserve-registry': 'other' } }, 'an API server of another registry responds there'],
])('does not relay %j', async (response, reason) => {
  const { forwarder } = createForwarder(() => response);
  expect(await forwarder.forward(OWNER, RENEWAL, REGISTRY)).toMatchObject({ reason });
});

it.each(['ftp://10.0.0.1', 'http://user:secret@10.0.0.1', 'http://0.0.0.0:8080', 'nonsense'])(
  'sends nothing to %s',
  async (url) => {
    const { forwarder, sent } = createForwarder(() => ({}));
    expect(await forwarder.forward(url, RENEWAL, REGISTRY)).toMatchObject({ kind: 'unreachable' });
    expect(sent).toEqual([]);
  },
);

it('a server with TLS sends nothing without TLS', async () => {
  const { forwarder, sent } = createForwarder(() => ({}), { requiresTls: true });
  const reason = 'it does not use TLS, but this server does';
  expect(await forwarder.forward(OWNER, RENEWAL, REGISTRY)).toEqual({ kind: 'unreachable', reason });
  expect(await forwarder.forward('https://10.0.0.1:8080', RENEWAL, REGISTRY)).toMatchObject({ status: 200 });
  expect(sent).toHaveLength(1);
});

it.each([
  ['another server of the registry responds', 'absent', { status: 421 }],
  ['a server of another registry responds', 'absent', { headers: { 'x-anyserve-registry': 'other' } }],
  ['the owner does not accept the token', 'unreachable', { status: 401 }],
  ['the owner fails', 'unreachable', { status: 500 }],
] as const)('says what it means that %s', async (_what, kind, response) => {
  const { forwarder } = createForwarder(() => response);
  expect(await forwarder.forward(OWNER, RENEWAL, REGISTRY)).toMatchObject({ kind });
});

it('knows that an owner has ended if nothing listens at its URL', async () => {
  const port = await findFreePort();
  const connections = new HttpConnections(() => ({}));
  const forwarder = new LeaseForwarder({ connections, clock: new ManualClock(), requiresTls: false });
  expect(await forwarder.forward(`http://127.0.0.1:${port}`, RENEWAL, REGISTRY)).toMatchObject({ kind: 'absent' });
  forwarder.close();
});

it('waits for the end of a lease for longer than its owner waits for etcd', async () => {
  const { forwarder, clock } = createForwarder(() => undefined);
  const outcome = forwarder.forward(OWNER, { ...RENEWAL, method: 'DELETE' }, REGISTRY);
  clock.advance(1999);
  expect(await Promise.race([outcome, Promise.resolve('waits')])).toBe('waits');
  clock.advance(1);
  expect(await outcome).toEqual({ kind: 'unreachable', reason: 'no response within 2 s' });
});
