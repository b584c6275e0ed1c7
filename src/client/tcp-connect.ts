import { connect } from 'node:net';
import { toSocketAddress } from '../core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import { explainTlsError } from './tls-failure.js';

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ENOENT: 'no such socket',
};

/** The failure of a connection by the system's error; `where` begins the message. */
export function toConnectionError(where: string, error: unknown): AnyserveError {
  const { code } = error as NodeJS.ErrnoException;
  return new AnyserveError(
    'unavailable',
    `${where}: ${explainTlsError(error) ?? REASONS[code ?? ''] ?? getErrorMessage(error)}`,
    {
      cause: error,
    },
  );
}

/**
 * Resolves once something takes a connection at an endpoint; rejects with `unavailable`, with
 * `deadline_exceeded` when that takes too long, or with the signal's reason.
 * The gRPC library does not give up a connection that hangs, which an address that swallows every packet makes it do,
 * and such a connection keeps a process alive for minutes. So it only dials what was reached here.
 */
export function connectTcp(endpoint: Endpoint, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (timeoutMs <= 0) return reject(new AnyserveError('deadline_exceeded', `${endpoint}: no time left to connect`));
    const socket = connect(toSocketAddress(endpoint));
    const settle = (settled: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      settled();
    };
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const fail = (error: AnyserveError): void => settle(() => reject(error));
    socket.setTimeout(timeoutMs, () => fail(new AnyserveError('deadline_exceeded', `${endpoint}: no answer in time`)));
    socket.once('connect', () => settle(resolve));
    socket.on('error', (error) => fail(toConnectionError(endpoint, error)));
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
