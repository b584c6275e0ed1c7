import { AnyserveError } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { createBackoff, STABLE_AFTER_MS } from './backoff.js';
import type { RegistryClaims } from './registry-claims.js';
import type { ResumableStream } from './resumable-stream.js';

/** A stream of one API server. */
export type FollowedStream<Event extends { readonly kind: string }> = Pick<
  ResumableStream<Event>,
  'server' | 'registryId' | 'connect'
>;

/** Options of {@link followStream}. */
export interface FollowStreamOptions<Event> {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends the stream when aborted. */
  readonly signal: AbortSignal;
  /** Registries that are followed, each through one server. Default: every server is followed. */
  readonly claims?: RegistryClaims<object>;
  /** Whether a server that refuses the stream, or has none, is tried again. Default: false. */
  readonly retriesRefusals?: boolean;
  /** Whether the process can exit while it waits for the next attempt. Default: false. */
  readonly background?: boolean;
  readonly onEvent: (event: Event) => void | Promise<void>;
  /** Called when a connection is lost or can't be opened. */
  readonly onLost: (error: AnyserveError, retryInMs: number) => void;
}

/**
 * Follows a stream of one API server: connects again with full jitter whenever the connection is lost. While another server
 * with the same registry is followed, waits. Resolves when the signal is aborted. Rejects if the server refuses the stream or
 * has none, unless an earlier connection succeeded: then that can be a server during an upgrade.
 */
export async function followStream<Event extends { readonly kind: string }>(
  stream: FollowedStream<Event>,
  options: FollowStreamOptions<Event>,
): Promise<void> {
  const { clock, random, signal, claims, retriesRefusals = false, background = false, onLost } = options;
  const backoff = createBackoff(random);
  let isRetried = retriesRefusals;
  const onConnected = (): void => {
    isRetried = true;
  };
  while (!signal.aborted) {
    const startedAtMs = clock.nowMs();
    try {
      await readConnection(stream, onConnected, options);
      await claims?.waitForRelease(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof AnyserveError) || (!isRetried && error.code !== 'server_unreachable')) throw error;
      if (clock.nowMs() - startedAtMs >= STABLE_AFTER_MS) backoff.reset();
      const retryInMs = backoff.computeNextDelayMs();
      onLost(error, retryInMs);
      await sleep(clock, retryInMs, signal, { background });
    }
  }
}

/** Reads one connection. Resolves if another server with the same registry is followed. Always ends the connection. */
async function readConnection<Event extends { readonly kind: string }>(
  stream: FollowedStream<Event>,
  onConnected: () => void,
  { signal, claims, onEvent }: FollowStreamOptions<Event>,
): Promise<void> {
  const connection = new AbortController();
  const end = (): void => connection.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  try {
    for await (const event of stream.connect(connection.signal)) {
      onConnected();
      if (claims && !claims.take(stream.registryId ?? stream.server.name, stream)) return;
      await onEvent(event);
    }
  } finally {
    claims?.release(stream);
    signal.removeEventListener('abort', end);
    end();
  }
}
