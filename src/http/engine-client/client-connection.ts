import type { Socket } from 'node:net';
import { getErrorMessage } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { type ClientTls, explainTlsError } from '../../core/tls.js';
import { type PendingWrite, writeBatch } from '../write-batch.js';
import type { EngineFailureKind, Exchange, ExchangeHolder } from './engine-call.js';
import type { SerializedRequest } from './engine-request.js';
import type { BytesListener, ConnectingSocket } from './origin-connector.js';
import { ResponseParser } from './response-parser.js';

/** The pool that a connection belongs to. */
export interface ConnectionOwner {
  readonly origin: string;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** Takes back a connection that can be used again. `keepAliveMs` is the time that the server keeps it. */
  release(connection: ClientConnection, keepAliveMs: number): void;
  /** Removes a closed connection. */
  remove(connection: ClientConnection): void;
  /** Sends a request again, over a new connection. */
  retry(exchange: Exchange): void;
}

/**
 * Maximum size of a request that is sent as one string, in bytes. Node.js copies a string of this size to the stack and writes it
 * with one system call. A larger body is sent in its pieces.
 */
const MAX_STRING_BYTES = 16 * 1024;

/**
 * Maximum time until the loss of a reused connection after which its request is sent again, in ms. The server was already closing
 * the connection. After a later loss, the request itself has failed.
 */
const STALE_CONNECTION_MS = 250;

const NO_REQUEST: SerializedRequest = { head: '', body: [], bodyBytes: 0 };

/** A connection to an engine. It carries one call at a time. */
export class ClientConnection implements ExchangeHolder, PendingWrite {
  /** Time from which the connection can't be used, in ms of the clock. */
  expiresAtMs = 0;
  /** TLS settings that the connection was opened with. */
  readonly tls: ClientTls | undefined;
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  readonly #cancelTimeout: () => void;
  #isConnected = false;
  #isReused = false;
  #isClosed = false;
  #sentAtMs = 0;
  #exchange: Exchange | undefined;
  #parser: ResponseParser | undefined;

  /** Opens a connection. Throws what `open` throws. */
  constructor(open: (onBytes: BytesListener) => ConnectingSocket, owner: ConnectionOwner) {
    const { socket, readyEvent, tls } = open((bytes) => this.#onBytes(bytes));
    this.#socket = socket;
    this.#owner = owner;
    this.tls = tls;
    this.#cancelTimeout = owner.clock.schedule(owner.connectTimeoutMs, () => this.#onTimeout());
    socket.setNoDelay(true);
    socket.on(readyEvent, () => this.#onConnect());
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => this.#onLoss(error));
    socket.on('close', () => this.#onLoss(undefined));
  }

  get isOpen(): boolean {
    return !this.#isClosed && !this.#socket.destroyed;
  }

  /** Sends a request, once the connection is open. */
  start(exchange: Exchange): void {
    exchange.holder = this;
    this.#exchange = exchange;
    this.#parser = new ResponseParser(exchange.method);
    if (exchange.isPaused) this.#socket.pause();
    if (!this.#isConnected) return;
    this.#isReused = true;
    this.#socket.ref();
    this.#send(exchange.message);
  }

  abandon(): void {
    this.close();
  }

  setPaused(isPaused: boolean): void {
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Closes the connection. Does not end its call. */
  close(): void {
    this.#exchange = undefined;
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelTimeout();
    this.#socket.destroy();
    this.#owner.remove(this);
  }

  /** Closes the connection. Its call fails, and the failure says how far it has come. */
  interrupt(reason: string, cause?: unknown): void {
    if (this.#parser?.hasStarted) this.#fail('truncated', `the response is incomplete: ${reason}`, cause);
    else if (this.#isConnected) this.#fail('no_response', `no response: ${reason}`, cause);
    else this.#failToConnect('connect_failed', reason, cause);
  }

  /** A request that was sent before, over another connection, can have been handled. */
  #failToConnect(kind: 'connect_failed' | 'connect_timeout', reason: string, cause?: unknown): void {
    this.#fail(this.#exchange?.isRetry ? 'no_response' : kind, reason, cause);
  }

  #fail(kind: EngineFailureKind, reason: string, cause?: unknown): void {
    const exchange = this.#exchange;
    this.close();
    exchange?.fail({ kind, message: `${this.#owner.origin}: ${reason}`, cause });
  }

  #send({ head, body, bodyBytes }: SerializedRequest): void {
    const socket = this.#socket;
    this.#sentAtMs = this.#owner.clock.nowMs();
    if (head.length + bodyBytes <= MAX_STRING_BYTES) {
      let text = head;
      for (const piece of body) text += piece.toString('latin1');
      socket.cork();
      socket.write(text, 'latin1');
      writeBatch.add(this, socket);
      return;
    }
    socket.cork();
    socket.write(head, 'latin1');
    for (const piece of body) socket.write(piece);
    socket.uncork();
  }

  /** Hands the request to the kernel. */
  flush(): void {
    this.#socket.uncork();
  }

  #onConnect(): void {
    this.#cancelTimeout();
    this.#isConnected = true;
    if (this.#exchange) this.#send(this.#exchange.message);
  }

  #onTimeout(): void {
    this.#failToConnect('connect_timeout', `no connection within ${this.#owner.connectTimeoutMs / 1000} s`);
  }

  /** Handles bytes that arrive. The next ones overwrite them. */
  #onBytes(bytes: Buffer): void {
    const [exchange, parser] = [this.#exchange, this.#parser];
    // An idle connection receives nothing from a server that keeps to the protocol.
    if (!exchange || !parser) return void this.close();
    // The request is not sent again, and its body can be large.
    exchange.message = NO_REQUEST;
    parser.push(bytes);
    if (parser.problem !== undefined) return void this.#fail('bad_response', `bad response: ${parser.problem}`);
    if (parser.head) exchange.handler.onHead(parser.head);
    if (parser.body && !exchange.isDone) exchange.handler.onBody(parser.body);
    if (parser.isComplete && !exchange.isDone) this.#complete(exchange, parser);
  }

  #complete(exchange: Exchange, { keepsAlive, keepAliveMs }: ResponseParser): void {
    exchange.holder = undefined;
    this.#exchange = undefined;
    this.#parser = undefined;
    // An engine can respond before it has read the whole request. The rest of it can't be taken back.
    if (keepsAlive && this.isOpen && this.#socket.writableLength === 0) this.#release(keepAliveMs);
    else this.close();
    exchange.handler.onEnd();
  }

  #release(keepAliveMs: number): void {
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#socket.unref();
    this.#owner.release(this, keepAliveMs);
  }

  #onEnd(): void {
    const [exchange, parser] = [this.#exchange, this.#parser];
    parser?.end();
    if (exchange && parser?.isComplete) this.#complete(exchange, parser);
    else this.#onLoss(undefined);
  }

  /** Handles the end of the socket, with or without an error. */
  #onLoss(error: Error | undefined): void {
    const exchange = this.#exchange;
    if (!exchange) return void this.close();
    if (!this.#isStale(exchange))
      return void this.interrupt(error ? describeError(error) : 'the connection was closed', error);
    this.close();
    exchange.isRetry = true;
    this.#owner.retry(exchange);
  }

  #isStale(exchange: Exchange): boolean {
    const elapsedMs = this.#owner.clock.nowMs() - this.#sentAtMs;
    const isUnanswered = this.#isReused && !this.#parser?.hasStarted;
    return isUnanswered && !exchange.isRetry && elapsedMs <= STALE_CONNECTION_MS;
  }
}

/** Describes an error of a socket. A name with several addresses has one error for each. */
function describeError(error: Error): string {
  const { errors = [] } = error as Partial<AggregateError>;
  return explainTlsError(error) ?? getErrorMessage(error.message === '' && errors.length > 0 ? errors[0] : error);
}
