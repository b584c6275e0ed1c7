import type {
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
  WatchCreateRequest,
  WatchResponse,
} from './gen/etcd.js';

/** The calls of etcd that the store makes. Unary calls reject with {@link EtcdError}. */
export interface EtcdApi {
  range(request: RangeRequest): Promise<RangeResponse>;
  txn(request: TxnRequest): Promise<TxnResponse>;
  /** Grants a lease with this TTL in seconds. */
  grantLease(ttlS: number): Promise<LeaseGrantResponse>;
  revokeLease(lease: bigint): Promise<void>;
  /** Opens a stream that renews leases: each id that is sent gets a response. */
  openKeepAlive(listener: StreamListener<LeaseKeepAliveResponse>): EtcdStream<bigint>;
  openWatch(request: WatchCreateRequest, listener: StreamListener<WatchResponse>): EtcdStream<never>;
  /** Closes all connections. */
  close(): void;
}

/** Listener of a stream. It is not called after the stream was cancelled. */
export interface StreamListener<Response> {
  onResponse(response: Response): void;
  /** Called once when the stream ends without being cancelled. */
  onEnd(error: EtcdError): void;
}

/** An open stream. */
export interface EtcdStream<Request> {
  send(request: Request): void;
  cancel(): void;
  /** Cancels the stream because its server went silent: later calls use the next endpoint. */
  abandon(): void;
}

/**
 * Reason of a failed call. `unreachable`: no answer, or none from a working cluster, so a later attempt can succeed. `lease_lost`: the
 * lease in the request doesn't exist. `no_space`: etcd has reached its quota. `denied`: the user or the certificate is not
 * accepted. `rejected`: the request itself is not accepted, for example because it is too large.
 */
export type EtcdErrorKind = 'unreachable' | 'lease_lost' | 'no_space' | 'denied' | 'rejected';

/** Error of a call of etcd. */
export class EtcdError extends Error {
  override readonly name = 'EtcdError';
  readonly kind: EtcdErrorKind;

  constructor(kind: EtcdErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Converts any error of a call. */
export function toEtcdError(error: unknown): EtcdError {
  return error instanceof EtcdError ? error : new EtcdError('unreachable', String(error));
}
