import type { StoreLogin } from '../../core/store-login.js';
import type { ClientTls } from '../../core/tls.js';
import { type EtcdApi, EtcdError, type EtcdStream, type StreamListener } from './etcd-api.js';
import type {
  EtcdThreadCall,
  EtcdThreadData,
  EtcdThreadOpening,
  EtcdThreadRequest,
  EtcdThreadResponse,
} from './etcd-thread-messages.js';
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

/** The thread as the one that started it sees it: a `Worker` of node:worker_threads. */
export interface EtcdWorker {
  postMessage(message: EtcdThreadRequest): void;
  on(event: 'message', listener: (message: EtcdThreadResponse) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: () => void): unknown;
  terminate(): unknown;
}

/** Options of {@link EtcdThread}. */
export interface EtcdThreadOptions {
  /** `host:port` of each member, in the order in which they are tried. */
  readonly endpoints: readonly string[];
  /** Returns the current certificates. Undefined: no TLS. */
  readonly tls: () => ClientTls | undefined;
  /** Returns the current user and password. Undefined: no authentication. */
  readonly login: () => StoreLogin | undefined;
  readonly startWorker: (data: EtcdThreadData) => EtcdWorker;
}

interface PendingCall {
  resolve(response: unknown): void;
  reject(error: EtcdError): void;
}

/**
 * etcd's API through a client in another thread. HTTP/2 doesn't run in the thread that serves HTTP/1, because Node uses the same
 * code for the streams of both, and V8 inlines less of that code after it has seen both: each `GET /route` took 11 % longer.
 */
export class EtcdThread implements EtcdApi {
  readonly #options: EtcdThreadOptions;
  readonly #worker: EtcdWorker;
  readonly #calls = new Map<number, PendingCall>();
  readonly #streams = new Map<number, StreamListener<unknown>>();
  #tls: ClientTls | undefined;
  #login: StoreLogin | undefined;
  #lastId = 0;
  #isClosed = false;

  constructor(options: EtcdThreadOptions) {
    this.#options = options;
    const { endpoints, tls, login, startWorker } = options;
    this.#tls = tls();
    this.#login = login();
    this.#worker = startWorker({ endpoints, credentials: { tls: this.#tls, login: this.#login } });
    this.#worker.on('message', (response) => this.#receive(response));
    // A thread that ends must not leave a server that knows nothing of etcd.
    this.#worker.on('error', (error) => {
      throw error;
    });
    this.#worker.on('exit', () => {
      if (!this.#isClosed) throw new Error('the thread with the client of etcd has ended');
    });
  }

  range(request: RangeRequest): Promise<RangeResponse> {
    return this.#call({ type: 'range', id: ++this.#lastId, request });
  }

  txn(request: TxnRequest): Promise<TxnResponse> {
    return this.#call({ type: 'txn', id: ++this.#lastId, request });
  }

  grantLease(ttlS: number): Promise<LeaseGrantResponse> {
    return this.#call({ type: 'grantLease', id: ++this.#lastId, ttlS });
  }

  revokeLease(lease: bigint): Promise<void> {
    return this.#call({ type: 'revokeLease', id: ++this.#lastId, lease });
  }

  openKeepAlive(listener: StreamListener<LeaseKeepAliveResponse>): EtcdStream<bigint> {
    return this.#open({ type: 'openKeepAlive', id: ++this.#lastId }, listener);
  }

  openWatch(request: WatchCreateRequest, listener: StreamListener<WatchResponse>): EtcdStream<never> {
    return this.#open({ type: 'openWatch', id: ++this.#lastId, request }, listener);
  }

  close(): void {
    this.#isClosed = true;
    this.#worker.terminate();
    this.#streams.clear();
    for (const { reject } of this.#calls.values()) reject(createClosedError());
    this.#calls.clear();
  }

  #call<Response>(call: EtcdThreadCall): Promise<Response> {
    // A thread that was ended answers nothing.
    if (this.#isClosed) return Promise.reject(createClosedError());
    return new Promise<unknown>((resolve, reject) => {
      this.#calls.set(call.id, { resolve, reject });
      this.#send(call);
    }) as Promise<Response>;
  }

  #open<Response>(opening: EtcdThreadOpening, listener: StreamListener<Response>): EtcdStream<bigint> {
    const { id } = opening;
    this.#streams.set(id, listener as StreamListener<unknown>);
    this.#send(opening);
    const end = (type: 'cancel' | 'abandon'): void => {
      this.#streams.delete(id);
      this.#send({ type, id });
    };
    return {
      send: (lease) => this.#send({ type: 'renew', id, lease }),
      cancel: () => end('cancel'),
      abandon: () => end('abandon'),
    };
  }

  #receive(message: EtcdThreadResponse): void {
    const { id } = message;
    const stream = this.#streams.get(id);
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (message.type === 'response') {
      stream?.onResponse(message.response);
      call?.resolve(message.response);
      return;
    }
    const error = new EtcdError(message.kind, message.message);
    this.#streams.delete(id);
    stream?.onEnd(error);
    call?.reject(error);
  }

  /** Sends a message, after the credentials if they have changed. */
  #send(message: EtcdThreadRequest): void {
    const tls = this.#options.tls();
    const login = this.#options.login();
    if (tls !== this.#tls || login !== this.#login) {
      this.#tls = tls;
      this.#login = login;
      this.#worker.postMessage({ type: 'credentials', credentials: { tls, login } });
    }
    this.#worker.postMessage(message);
  }
}

function createClosedError(): EtcdError {
  return new EtcdError('unreachable', 'the client is closed');
}
