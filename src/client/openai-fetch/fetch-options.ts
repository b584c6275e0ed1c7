import { AnyserveError } from '../../core/errors.js';
import { checkOptionTypes, type OptionTypes } from '../../core/option-types.js';
import { checkCallTimeout, checkTimes, type ValueOrGetter } from '../../core/options.js';
import type { ClientOptions, ClientReplica } from '../client-options.js';
import { parsePassedHeader } from '../http-calls/forwarded-headers.js';

/** Options of `createFetch`. Those with the name of an option of `Client` have the same meaning. */
export interface FetchOptions
  extends Pick<
    ClientOptions,
    'where' | 'prefer' | 'token' | 'tls' | 'pick' | 'hedgeAfterMs' | 'onRetry' | 'onAttempt' | 'tracer'
  > {
  /** URL of an API server, or of several. Calls go to the replicas of all of them. */
  readonly server: string | readonly string[];
  /** Pairs that a replica must have in addition to the model. Default: none. */
  readonly capability?: ClientOptions['capability'];
  /**
   * Keys for replicas that need one, by origin: `{ 'https://gpu7:8000': KEY }`. A key is sent to exactly that origin as a bearer
   * token, and never in plaintext to a public address.
   */
  readonly keys?: Readonly<Record<string, ValueOrGetter<string>>> | undefined;
  /** Names of request headers that are passed on too. By default, only those that no credential is in. */
  readonly passHeaders?: readonly string[] | undefined;
  /** Networks in which replicas can be, such as `10.0.0.0/8`. Default: all addresses except link-local ones. */
  readonly allowNetworks?: readonly string[] | undefined;
  /** Timeout for a call with all its attempts, in ms. Default: 600,000; 3,600,000 for a stream. */
  readonly timeoutMs?: number | undefined;
  /** Timeout for the first byte of a response, in ms. 0: the timeout of the call. Default: 600,000. */
  readonly firstByteTimeoutMs?: number | undefined;
  /** Maximum time between two pieces of a response, in ms. 0: the timeout of the call. Default: 120,000. */
  readonly streamIdleTimeoutMs?: number | undefined;
}

/** A `fetch` whose requests go to replicas that offer the model of the request. */
export type ModelFetch = typeof fetch & {
  /**
   * Lists the replicas with an HTTP API, in any state, with what this fetch has observed of them. Rejects with
   * `server_unreachable` if no API server responds within 3 s.
   */
  replicas(): Promise<readonly ClientReplica[]>;
  /** Closes all connections. Calls in progress fail with `cancelled`. */
  close(): Promise<void>;
};

const FETCH_OPTION_TYPES: OptionTypes<FetchOptions> = {
  allowNetworks: 'strings',
  capability: 'scalars',
  firstByteTimeoutMs: 'number',
  hedgeAfterMs: 'number',
  keys: 'secrets',
  onAttempt: 'function',
  onRetry: 'function',
  passHeaders: 'strings',
  pick: 'string',
  prefer: 'string',
  server: 'string or strings',
  streamIdleTimeoutMs: 'number',
  timeoutMs: 'number',
  tls: 'tls',
  token: 'secret',
  tracer: 'tracer',
  where: 'string',
};

/** Checks the options of `createFetch`. Throws `usage` with the option's name. */
export function checkFetchOptions(options: FetchOptions): void {
  checkOptionTypes('createFetch', options, FETCH_OPTION_TYPES, ['server']);
  const { server, timeoutMs, firstByteTimeoutMs, streamIdleTimeoutMs, hedgeAfterMs, passHeaders = [] } = options;
  if (server.length === 0) throw new AnyserveError('usage', 'option server: give the URL of an API server');
  for (const name of passHeaders) parsePassedHeader(name, 'option passHeaders');
  checkCallTimeout(timeoutMs);
  checkTimes({ firstByteTimeoutMs, streamIdleTimeoutMs, hedgeAfterMs });
}
