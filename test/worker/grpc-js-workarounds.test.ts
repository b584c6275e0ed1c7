import { connect } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import { FLOW_CONTROL_WINDOW_BYTES } from '../../src/inference/service-definition.js';
import { createEchoBackend } from '../../src/worker/echo-backend.js';
import { createAuthority } from '../support/certificates.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe('a worker', () => {
  const authority = createAuthority();

  it.each([
    ['in plain text', undefined],
    ['over TLS', () => authority.sign('worker')],
  ])('has flow-control windows for a large message per stream and per connection: %s', async (_how, tls) => {
    const worker = await startTestWorker(createEchoBackend(), {
      tls:
        tls &&
        (
          (given) => () =>
            given
        )(tls()),
    });
    cleanups.push(() => worker.stop());
    const session = connect(`${tls ? 'https' : 'http'}://${worker.replica.endpoint}`, { ca: authority.cert });
    cleanups.push(() => session.close());
    const countWindows = (): string =>
      `${session.remoteSettings?.initialWindowSize}, ${session.state.remoteWindowSize}`;
    const wide = `${FLOW_CONTROL_WINDOW_BYTES}, ${FLOW_CONTROL_WINDOW_BYTES}`;
    await until(
      () => `the windows ${countWindows()} are ${wide}`,
      () => countWindows() === wide,
    );
    expect(FLOW_CONTROL_WINDOW_BYTES).toBeGreaterThan(1024 * 1024);
  });

  it('allows 1,024 calls on a connection, and headers of 16 KiB', async () => {
    const worker = await startTestWorker(createEchoBackend());
    cleanups.push(() => worker.stop());
    const session = connect(`http://${worker.replica.endpoint}`);
    cleanups.push(() => session.close());
    await until('the settings have arrived', () => session.remoteSettings?.maxHeaderListSize === 16 * 1024);
    expect(session.remoteSettings?.maxConcurrentStreams).toBe(1024);
    const requestStatus = (padding: number): Promise<unknown> =>
      new Promise((resolve) => {
        const headers = {
          ':method': 'POST',
          ':path': '/x/y',
          'content-type': 'application/grpc',
          pad: 'x'.repeat(padding),
        };
        const stream = session.request(headers, { endStream: true });
        stream.on('response', (response) => resolve(response['grpc-status']));
        stream.on('error', () => resolve('refused')).resume();
      });
    expect(await requestStatus(15 * 1024)).toBe('12');
    expect(await requestStatus(17 * 1024)).toBe('refused');
  });
});
