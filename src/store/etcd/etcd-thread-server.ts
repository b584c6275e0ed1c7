import type { StoreLogin } from '../../core/store-login.js';
import type { ClientTls } from '../../core/tls.js';
import { type EtcdApi, type EtcdStream, type StreamListener, toEtcdError } from './etcd-api.js';
import type {
  EtcdThreadCall,
  EtcdThreadOpening,
  EtcdThreadRequest,
  EtcdThreadResponse,
} from './etcd-thread-messages.js';

/** Options of {@link EtcdThreadServer}. */
export interface EtcdThreadServerOptions {
  readonly api: EtcdApi;
  readonly send: (response: EtcdThreadResponse) => void;
  readonly onTls: (tls: ClientTls | undefined) => void;
  readonly onLogin: (login: StoreLogin | undefined) => void;
}

/** The other end of an `EtcdThread`: makes its calls with the client in this thread. */
export class EtcdThreadServer {
  readonly #options: EtcdThreadServerOptions;
  readonly #streams = new Map<number, EtcdStream<bigint>>();

  constructor(options: EtcdThreadServerOptions) {
    this.#options = options;
  }

  receive(message: EtcdThreadRequest): void {
    switch (message.type) {
      case 'tls':
        this.#options.onTls(message.tls);
        break;
      case 'login':
        this.#options.onLogin(message.login);
        break;
      case 'openKeepAlive':
      case 'openWatch':
        this.#streams.set(message.id, this.#open(message));
        break;
      case 'renew':
        this.#streams.get(message.id)?.send(message.lease);
        break;
      case 'cancel':
      case 'abandon':
        this.#streams.get(message.id)?.[message.type]();
        this.#streams.delete(message.id);
        break;
      default:
        this.#call(message).then(
          (response) => this.#respond(message.id, response),
          (error) => this.#fail(message.id, error),
        );
    }
  }

  #call(call: EtcdThreadCall): Promise<unknown> {
    const { api } = this.#options;
    switch (call.type) {
      case 'range':
        return api.range(call.request);
      case 'txn':
        return api.txn(call.request);
      case 'grantLease':
        return api.grantLease(call.ttlS);
      case 'revokeLease':
        return api.revokeLease(call.lease);
      default:
        return call satisfies never;
    }
  }

  #open(opening: EtcdThreadOpening): EtcdStream<bigint> {
    const { api } = this.#options;
    const { id } = opening;
    const listener: StreamListener<unknown> = {
      onResponse: (response) => this.#respond(id, response),
      onEnd: (error) => {
        this.#streams.delete(id);
        this.#fail(id, error);
      },
    };
    return opening.type === 'openWatch' ? api.openWatch(opening.request, listener) : api.openKeepAlive(listener);
  }

  #respond(id: number, response: unknown): void {
    this.#options.send({ type: 'response', id, response });
  }

  #fail(id: number, error: unknown): void {
    const { kind, message } = toEtcdError(error);
    this.#options.send({ type: 'error', id, kind, message });
  }
}
