import { connect } from 'node:net';
import { type Metadata, Server, ServerCredentials, type ServiceDefinition, status } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import type { EtcdError } from '../../../src/store/etcd/etcd-api.js';
import type { EtcdClient } from '../../../src/store/etcd/etcd-client.js';
import { createEtcdError } from '../../../src/store/etcd/etcd-failures.js';
import { createTestEtcdClient } from '../../support/etcd-process.js';
import { startTcpServer } from '../../support/tcp-server.js';
import { until } from '../../support/until.js';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});

/** Starts a gRPC server that accepts the streams of etcd, and records their metadata by the path. */
async function startRecorder(): Promise<{ readonly endpoint: string; readonly metadata: Map<string, Metadata> }> {
  const metadata = new Map<string, Metadata>();
  const server = new Server();
  servers.push(server);
  for (const path of ['/etcdserverpb.Watch/Watch', '/etcdserverpb.Lease/LeaseKeepAlive']) {
    const method = {
      path,
      requestStream: true,
      responseStream: true,
      requestSerialize: Buffer.from,
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: Buffer.from,
      responseDeserialize: (bytes: Buffer) => bytes,
    };
    const service = { call: method } as unknown as ServiceDefinition;
    server.addService(service, {
      call: (stream: { readonly metadata: Metadata; on(event: string, listener: () => void): void }) => {
        metadata.set(path, stream.metadata);
        stream.on('data', () => {});
        stream.on('error', () => {});
      },
    });
  }
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return { endpoint: `127.0.0.1:${port}`, metadata };
}

it('asks for a leader on both streams, because a member without one serves old data and answers pings', async () => {
  const { endpoint, metadata } = await startRecorder();
  const api = createTestEtcdClient([endpoint]);
  const ignore = { onResponse: () => {}, onEnd: () => {} };
  const request = { key: Buffer.from('a'), rangeEnd: new Uint8Array(), startRevision: 1n, fragment: true };
  const watch = api.openWatch(request, ignore);
  const keepAlive = api.openKeepAlive(ignore);
  keepAlive.send(1n);
  await until('both are open', () => metadata.size === 2);
  for (const [path, received] of metadata) expect([path, received.get('hasleader')]).toEqual([path, ['true']]);
  watch.cancel();
  keepAlive.cancel();
  api.close();
});

it('says in plain words why etcd has not answered', async () => {
  const { endpoint, metadata } = await startRecorder();
  const upstreamPort = Number(endpoint.split(':')[1]);
  const proxy = await startTcpServer(
    () => {},
    (socket) => socket.pipe(connect(upstreamPort, '127.0.0.1')).pipe(socket),
  );
  const silent = await startTcpServer(() => {});
  const [api, connecting] = [proxy, silent].map(({ port }) => createTestEtcdClient([`127.0.0.1:${port}`])) as [
    EtcdClient,
    EtcdClient,
  ];
  const lost = new Promise<EtcdError>((resolve) => {
    const keepAlive = api.openKeepAlive({ onResponse: () => {}, onEnd: resolve });
    keepAlive.send(1n);
  });
  await until('the stream is open', () => metadata.size === 1);
  for (const socket of proxy.sockets) socket.destroy();
  const abandoned = connecting.grantLease(15).catch((error: EtcdError) => error);
  await until('it connects', () => silent.sockets.length > 0);
  connecting.close();
  const late = createEtcdError({
    code: status.DEADLINE_EXCEEDED,
    details: 'Deadline exceeded after 2.001s,LB pick: 0.001s',
  });
  expect([(await lost).message, ((await abandoned) as EtcdError).message, late.message]).toEqual([
    'the connection was lost',
    'no connection: the last attempt had no answer',
    'it has not answered in time',
  ]);
  api.close();
  await Promise.all([proxy.close(), silent.close()]);
});
