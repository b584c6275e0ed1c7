import { connect } from 'node:net';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { AddressCheck } from '../http/engine-client/upstream-address.js';
import { toConnectionError } from './connection-errors.js';
import { toSocketTarget } from './endpoint-connection.js';

/**
 * Opens a TCP connection to an endpoint and closes it again. Resolves to the IP address that has accepted it; undefined for a Unix
 * domain socket. Rejects with `unavailable`, with `deadline_exceeded` after the
 * timeout, or with the signal's reason. The gRPC library never gives up a connection attempt that hangs, for example at an
 * address that drops all packets, and keeps the process alive for minutes. So the library connects only after this check.
 */
export function connectTcp(
  endpoint: Endpoint,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  checkAddress?: AddressCheck,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    if (timeoutMs <= 0) return reject(new AnyserveError('deadline_exceeded', `${endpoint}: no time left to connect`));
    const socket = connect(toSocketTarget(endpoint, checkAddress));
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
    socket.once('connect', () => {
      const address = socket.remoteAddress;
      settle(() => resolve(address));
    });
    socket.on('error', (error) => fail(toConnectionError(endpoint, error)));
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
