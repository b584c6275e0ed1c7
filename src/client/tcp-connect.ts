import { connect } from 'node:net';
import { toSocketAddress } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import { toConnectionError } from './connection-errors.js';

/**
 * Opens a TCP connection to an endpoint and closes it again. Rejects with `unavailable`, with `deadline_exceeded` after the
 * timeout, or with the signal's reason. The gRPC library never gives up a connection attempt that hangs, for example at an
 * address that drops all packets, and keeps the process alive for minutes. So the library connects only after this check.
 */
export function connectTcp(endpoint: Endpoint, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (timeoutMs <= 0) return reject(new AnyserveError('deadline_exceeded', `${endpoint}: no time left to connect`));
    const socket = connect(toSocketAddress(endpoint));
    const settle = (report: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      report();
    };
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const fail = (error: AnyserveError): void => settle(() => reject(error));
    socket.setTimeout(timeoutMs, () =>
      fail(new AnyserveError('deadline_exceeded', `${endpoint}: no response in time`)),
    );
    socket.once('connect', () => settle(resolve));
    socket.on('error', (error) => fail(toConnectionError(endpoint, error)));
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
