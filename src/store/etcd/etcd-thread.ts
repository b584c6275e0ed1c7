import type { StoreLogin } from '../../core/store-login.js';
import type { ClientTls } from '../../core/tls.js';
import { type EtcdApi, EtcdError, type EtcdStream, type StreamListener, toEtcdError } from './etcd-api.js';
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
  on(event: 'error' | 'messageerror', listener: (error: Error) => void): unknown;
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
 * code for the streams of both, and V8 inlines less of that code after it has seen both. Each `GET /route` took 11 % more processor time
 * than without etcd; now it takes 2 to 4 % more.
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
    // Without the thread, the server would serve an old copy of the registry.
    for (const event of ['error', 'messageerror'] as const) {
      this.#worker.on(event, (error) => {
        throw error;
      });
    }
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
    try {
      this.#sendCredentials();
    } catch (error) {
      return Promise.reject(toEtcdError(error));
    }
    return new Promise<unknown>((resolve, reject) => {
      this.#calls.set(call.id, { resolve, reject });
      this.#worker.postMessage(call);
    }) as Promise<Response>;
  }

  #open<Response>(opening: EtcdThreadOpening, listener: StreamListener<Response>): EtcdStream<bigint> {
    const { id } = opening;
    this.#streams.set(id, listener as StreamListener<unknown>);
    try {
      this.#sendCredentials();
      this.#worker.postMessage(opening);
    } catch (error) {
      queueMicrotask(() => {
        if (this.#streams.delete(id)) listener.onEnd(toEtcdError(error));
      });
    }
    const end = (type: 'cancel' | 'abandon'): void => {
      this.#streams.delete(id);
      this.#worker.postMessage({ type, id });
    };
    return {
      send: (lease) => this.#worker.postMessage({ type: 'renew', id, lease }),
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

  /** Sends the certificates and the login if they have changed. Throws the errors of the functions that return them. */
  #sendCredentials(): void {
    const [tls, login] = [this.#options.tls(), this.#options.login()];
    // New certificates close the connections, so an equal copy must not be sent.
    if (!isEqual(tls, this.#tls)) this.#worker.postMessage({ type: 'tls', tls });
    if (!isEqual(login, this.#login)) this.#worker.postMessage({ type: 'login', login });
    this.#tls = tls;
    this.#login = login;
  }
}

/** Returns whether two objects have the same members. */
function isEqual<T extends object>(a: T | undefined, b: T | undefined): boolean {
  if (a === b || !a || !b) return a === b;
  return (Object.keys({ ...a, ...b }) as (keyof T)[]).every((name) => a[name] === b[name]);
}

function createClosedError(): EtcdError {
  return new EtcdError('unreachable', 'the client is closed');
}
