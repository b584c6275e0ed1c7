import type { StoreLogin } from '../../core/store-login.js';
import type { ClientTls } from '../../core/tls.js';
import type { EtcdErrorKind } from './etcd-api.js';
import type { RangeRequest, TxnRequest, WatchCreateRequest } from './gen/etcd.js';

/** The certificates and the login at present. Undefined: no TLS, or no authentication. */
export interface EtcdCredentials {
  readonly tls: ClientTls | undefined;
  readonly login: StoreLogin | undefined;
}

/** Data that the thread starts with. */
export interface EtcdThreadData {
  /** `host:port` of each member, in the order in which they are tried. */
  readonly endpoints: readonly string[];
  readonly credentials: EtcdCredentials;
}

/** A unary call. `id` numbers calls and streams. */
export type EtcdThreadCall =
  | { readonly type: 'range'; readonly id: number; readonly request: RangeRequest }
  | { readonly type: 'txn'; readonly id: number; readonly request: TxnRequest }
  | { readonly type: 'grantLease'; readonly id: number; readonly ttlS: number }
  | { readonly type: 'revokeLease'; readonly id: number; readonly lease: bigint };

/** Opens a stream. */
export type EtcdThreadOpening =
  | { readonly type: 'openKeepAlive'; readonly id: number }
  | { readonly type: 'openWatch'; readonly id: number; readonly request: WatchCreateRequest };

/** Message to the thread. `renew`, `cancel` and `abandon` are for the open stream with this number. */
export type EtcdThreadRequest =
  | EtcdThreadCall
  | EtcdThreadOpening
  | { readonly type: 'renew'; readonly id: number; readonly lease: bigint }
  | { readonly type: 'cancel' | 'abandon'; readonly id: number }
  | { readonly type: 'tls'; readonly tls: ClientTls | undefined }
  | { readonly type: 'login'; readonly login: StoreLogin | undefined };

/** Message from the thread, for the call or stream with this number. */
export type EtcdThreadResponse =
  | { readonly type: 'response'; readonly id: number; readonly response: unknown }
  /** Ends the call or the stream. An error can't be sent as such: it would lose its class. */
  | { readonly type: 'error'; readonly id: number; readonly kind: EtcdErrorKind; readonly message: string };
