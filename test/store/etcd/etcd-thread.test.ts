import { EventEmitter } from 'node:events';
import { setImmediate as nextImmediate } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { afterEach, expect, it, vi } from 'vitest';
import { type EtcdApi, EtcdError, type EtcdStream, type StreamListener } from '../../../src/store/etcd/etcd-api.js';
import { EtcdThread } from '../../../src/store/etcd/etcd-thread.js';
import type { EtcdCredentials, EtcdThreadRequest } from '../../../src/store/etcd/etcd-thread-messages.js';
import { EtcdThreadServer } from '../../../src/store/etcd/etcd-thread-server.js';
import type { LeaseKeepAliveResponse, RangeRequest, WatchResponse } from '../../../src/store/etcd/gen/etcd.js';
import { until } from '../../support/until.js';

const ports: MessagePort[] = [];

afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

interface Connected {
  readonly thread: EtcdThread;
  /** The credentials at the start of the thread, and those that arrived later. */
  readonly credentials: EtcdCredentials[];
}

/** Connects a thread's two ends by a real message channel, so that messages are copied as between threads. */
function connectThread(
  api: Partial<EtcdApi>,
  options: Partial<ConstructorParameters<typeof EtcdThread>[0]> = {},
): Connected {
  const credentials: EtcdCredentials[] = [];
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const thread = new EtcdThread({
    endpoints: ['etcd.test:2379'],
    tls: () => undefined,
    login: () => undefined,
    startWorker(data) {
      expect(data.endpoints).toEqual(['etcd.test:2379']);
      credentials.push(data.credentials);
      const server = new EtcdThreadServer({
        api: api as EtcdApi,
        send: (response) => port2.postMessage(response),
        onTls: (tls) => credentials.push({ ...(credentials.at(-1) as EtcdCredentials), tls }),
        onLogin: (login) => credentials.push({ ...(credentials.at(-1) as EtcdCredentials), login }),
      });
      port2.on('message', (message: EtcdThreadRequest) => server.receive(message));
      return Object.assign(port1, { terminate: () => port1.close() });
    },
    ...options,
  });
  return { thread, credentials };
}

const RANGE: RangeRequest = {
  key: Buffer.from('a'),
  rangeEnd: new Uint8Array(),
  limit: 10n,
  revision: 0n,
};

const KEEP_ALIVE: LeaseKeepAliveResponse = { header: undefined, ID: 7n, TTL: 15n };

/** A stream whose caller's actions are recorded. */
function recordStream(actions: unknown[]): EtcdStream<bigint> {
  return {
    send: (lease) => actions.push(lease),
    cancel: () => actions.push('cancel'),
    abandon: () => actions.push('abandon'),
  };
}

it('makes each call with its argument, and returns its response', async () => {
  const calls: unknown[] = [];
  const record =
    <Response>(method: string, response: Response) =>
    (argument: unknown): Promise<Response> => {
      calls.push([method, argument]);
      return Promise.resolve(response);
    };
  const page = { header: undefined, kvs: [], more: false, count: 0n };
  const { thread } = connectThread({
    range: record('range', page),
    txn: record('txn', { header: undefined, succeeded: true, responses: [] }),
    grantLease: record('grantLease', { header: undefined, ID: 7n, TTL: 15n, error: '' }),
    revokeLease: record('revokeLease', undefined),
  });
  const txn = { compare: [], success: [], failure: [] };
  const [range, written, lease, revoked] = await Promise.all([
    thread.range(RANGE),
    thread.txn(txn),
    thread.grantLease(15),
    thread.revokeLease(7n),
  ]);
  expect([range, written.succeeded, lease.ID, revoked]).toEqual([page, true, 7n, undefined]);
  expect(calls).toEqual([
    ['range', { ...RANGE, key: new Uint8Array([97]) }],
    ['txn', txn],
    ['grantLease', 15],
    ['revokeLease', 7n],
  ]);
});

it('keeps the kind and the message of an error', async () => {
  const { thread } = connectThread({
    range: () => Promise.reject(new EtcdError('denied', 'permission denied')),
    grantLease: () => Promise.reject(new Error('no route')),
  });
  const refused = await thread.range(RANGE).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(EtcdError);
  expect(refused).toMatchObject({ kind: 'denied', message: 'permission denied' });
  await expect(thread.grantLease(15)).rejects.toMatchObject({ kind: 'unreachable', message: 'Error: no route' });
});

it('carries a stream until it ends', async () => {
  const actions: unknown[] = [];
  let listener: StreamListener<LeaseKeepAliveResponse> | undefined;
  const { thread } = connectThread({
    openKeepAlive(given) {
      listener = given;
      return recordStream(actions);
    },
  });
  const received: unknown[] = [];
  const stream = thread.openKeepAlive({
    onResponse: (response) => received.push(response),
    onEnd: ({ kind, message }) => received.push([kind, message]),
  });
  stream.send(7n);
  await until('the lease is renewed', () => actions.length === 1);
  listener?.onResponse(KEEP_ALIVE);
  listener?.onResponse(KEEP_ALIVE);
  listener?.onEnd(new EtcdError('lease_lost', 'gone'));
  await until('the stream has ended', () => received.length === 3);
  expect(received).toEqual([KEEP_ALIVE, KEEP_ALIVE, ['lease_lost', 'gone']]);
  expect(actions).toEqual([7n]);
});

it.each(['cancel', 'abandon'] as const)('delivers nothing after %s, also what was already on its way', async (end) => {
  const actions: unknown[] = [];
  let listener: StreamListener<WatchResponse> | undefined;
  const { thread } = connectThread({
    openWatch(_request, given) {
      listener = given;
      return recordStream(actions);
    },
    revokeLease: () => Promise.resolve(),
  });
  const received: unknown[] = [];
  const request = { key: Buffer.from('a'), rangeEnd: new Uint8Array(), startRevision: 1n, fragment: true };
  const record = (value: unknown): void => void received.push(value);
  const stream = thread.openWatch(request, { onResponse: record, onEnd: record });
  await until('the stream is open', () => listener !== undefined);
  listener?.onEnd(new EtcdError('unreachable', 'lost'));
  stream[end]();
  // Messages arrive in order, so everything before this response has arrived with it.
  await thread.revokeLease(1n);
  expect(received).toEqual([]);
});

it('sends new certificates and a new login before the message that needs them, and only once', async () => {
  let tls = { ca: 'old' };
  let login = { user: 'a', password: 'old' };
  const seen: string[] = [];
  const { thread, credentials } = connectThread(
    {
      revokeLease() {
        seen.push(`${credentials.at(-1)?.tls?.ca} ${credentials.at(-1)?.login?.password}`);
        return Promise.resolve();
      },
    },
    { tls: () => tls, login: () => login },
  );
  await thread.revokeLease(1n);
  tls = { ca: 'new' };
  await thread.revokeLease(1n);
  login = { user: 'a', password: 'new' };
  await thread.revokeLease(1n);
  // Equal copies are not sent.
  [tls, login] = [{ ...tls }, { ...login }];
  await thread.revokeLease(1n);
  expect(seen).toEqual(['old old', 'new old', 'new new', 'new new']);
  expect(credentials).toHaveLength(3);
});

it('fails calls and streams whose certificates cannot be read, as etcd would, and works again when they can', async () => {
  let problem: Error | undefined;
  const api = { revokeLease: () => Promise.resolve(), openKeepAlive: () => recordStream([]) };
  const tls = (): undefined => {
    if (problem) throw problem;
  };
  const { thread } = connectThread(api, { tls });
  problem = new Error('no certificate');
  await expect(thread.revokeLease(1n)).rejects.toBeInstanceOf(EtcdError);
  const onEnd = vi.fn();
  thread.openKeepAlive({ onResponse: () => {}, onEnd });
  expect(onEnd).not.toHaveBeenCalled();
  await nextImmediate();
  expect(onEnd.mock.calls).toMatchObject([[{ kind: 'unreachable', message: 'Error: no certificate' }]]);
  problem = undefined;
  await thread.revokeLease(1n);
});

it('rejects calls that are open when it closes, and later ones, and ends no stream', async () => {
  const onEnd = vi.fn();
  const { thread } = connectThread({
    range: () => new Promise(() => {}),
    openKeepAlive: () => recordStream([]),
  });
  thread.openKeepAlive({ onResponse: () => {}, onEnd });
  const open = thread.range(RANGE);
  thread.close();
  for (const call of [open, thread.range(RANGE)])
    await expect(call).rejects.toMatchObject({ kind: 'unreachable', message: 'the client is closed' });
  await nextImmediate();
  expect(onEnd).not.toHaveBeenCalled();
});

it('an error that nothing has handled in the thread is thrown in this one, and so is its end', () => {
  const worker = Object.assign(new EventEmitter(), { postMessage: () => {}, terminate: () => {} });
  const { thread } = connectThread({}, { startWorker: () => worker });
  expect(() => worker.emit('error', new Error('a bug'))).toThrow('a bug');
  expect(() => worker.emit('exit')).toThrow('the thread with the client of etcd has ended');
  thread.close();
  worker.emit('exit');
});
