import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import type { Clock } from '../../core/ports.js';
import type { StoreLogin } from '../../core/store-login.js';
import type { ClientTls } from '../../core/tls.js';
import { type EtcdApi, EtcdError, type EtcdErrorKind, type EtcdStream, type StreamListener } from './etcd-api.js';
import type {
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
  WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from './gen/etcd.js';
import { AuthDefinition, KVDefinition, LeaseDefinition, WatchDefinition } from './gen/etcd.js';

/** Options of a client of etcd. */
export interface EtcdClientOptions {
  /** `host:port` of each member, in the order in which they are tried. */
  readonly endpoints: readonly string[];
  /** Creates the credentials of a channel. Without TLS: plain text. */
  readonly createSecurity: (
    endpoint: string,
    tls: ClientTls | undefined,
  ) => { readonly credentials: ChannelCredentials; readonly options: ClientOptions };
  /** Returns the current certificates. Undefined: no TLS. */
  readonly tls: (() => ClientTls) | undefined;
  /** Returns the current user and password. Undefined: no authentication. */
  readonly login: (() => StoreLogin) | undefined;
  readonly clock: Clock;
}

/** Deadline of a unary call, in ms. An etcd that is paused, or has no quorum, doesn't answer at all. */
const UNARY_TIMEOUT_MS = 2000;

const CHANNEL_OPTIONS: ClientOptions = {
  // A watch whose connection is half open is silent forever: pings find that out. etcd closes connections with more pings.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // The cluster is trusted, and a page of 1,000 records has no fixed size.
  'grpc.max_receive_message_length': -1,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** The code that the protobuf compiler generated for a message. */
interface GeneratedMessage<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

/** A method of a generated service. */
interface MethodDefinition<Request, Response> {
  readonly name: string;
  readonly requestType: GeneratedMessage<Request>;
  readonly responseType: GeneratedMessage<Response>;
}

/** A channel to one member, and the certificates that it was created with. */
interface Connection {
  readonly client: Client;
  readonly tls: ClientTls | undefined;
}

/** A client of etcd's API. It calls one member, and the next one after a call without an answer. */
export class EtcdClient implements EtcdApi {
  readonly #options: EtcdClientOptions;
  readonly #connections = new Map<number, Connection>();
  #current = 0;
  /** Token of the logged-in user; undefined before the login. */
  #token: Promise<string> | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
  }

  range(request: RangeRequest): Promise<RangeResponse> {
    return this.#call(KVDefinition, KVDefinition.methods.range, request);
  }

  txn(request: TxnRequest): Promise<TxnResponse> {
    return this.#call(KVDefinition, KVDefinition.methods.txn, request);
  }

  grantLease(ttlS: number): Promise<LeaseGrantResponse> {
    return this.#call(LeaseDefinition, LeaseDefinition.methods.leaseGrant, { TTL: BigInt(ttlS) });
  }

  async revokeLease(lease: bigint): Promise<void> {
    await this.#call(LeaseDefinition, LeaseDefinition.methods.leaseRevoke, { ID: lease });
  }

  openKeepAlive(listener: StreamListener<LeaseKeepAliveResponse>): EtcdStream<bigint> {
    const method = LeaseDefinition.methods.leaseKeepAlive;
    const stream = this.#open<LeaseKeepAliveRequest, LeaseKeepAliveResponse>(LeaseDefinition, method, listener);
    return { ...stream, send: (lease) => stream.send({ ID: lease }) };
  }

  openWatch(request: WatchCreateRequest, listener: StreamListener<WatchResponse>): EtcdStream<never> {
    const method = WatchDefinition.methods.watch;
    const stream = this.#open<WatchRequest, WatchResponse>(WatchDefinition, method, listener);
    stream.send({ requestUnion: { $case: 'createRequest', value: request } });
    return stream;
  }

  close(): void {
    for (const { client } of this.#connections.values()) client.close();
    this.#connections.clear();
  }

  /** Makes a unary call with the token of the user. Logs in again once if the token is no longer valid. */
  async #call<Request, Response>(
    service: { readonly fullName: string },
    method: MethodDefinition<Request, Response>,
    request: Request,
  ): Promise<Response> {
    const token = this.#token;
    try {
      return await this.#callOnce(service, method, request, await this.#createMetadata());
    } catch (error) {
      if (!isTokenError(error) || !this.#options.login) throw toCallError(error);
      if (this.#token === token) this.#token = undefined;
    }
    return this.#callOnce(service, method, request, await this.#createMetadata()).catch((error) => {
      throw toCallError(error);
    });
  }

  #callOnce<Request, Response>(
    { fullName }: { readonly fullName: string },
    { name, requestType, responseType }: MethodDefinition<Request, Response>,
    request: Request,
    metadata: Metadata,
  ): Promise<Response> {
    const index = this.#current;
    const deadline = this.#options.clock.epochMs() + UNARY_TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      this.#connect(index).makeUnaryRequest(
        `/${fullName}/${name}`,
        createSerializer(requestType),
        createDeserializer(responseType),
        request,
        metadata,
        { deadline },
        (error, response) => {
          if (!error && response !== undefined) return resolve(response);
          if (isWithoutAnswer(error)) this.#leave(index);
          reject(error);
        },
      );
    });
  }

  #open<Request, Response>(
    { fullName }: { readonly fullName: string },
    { name, requestType, responseType }: MethodDefinition<Request, Response>,
    listener: StreamListener<Response>,
  ): EtcdStream<Request> {
    const index = this.#current;
    let isOver = false;
    const end = (error: unknown): void => {
      if (isOver) return;
      isOver = true;
      if (isWithoutAnswer(error)) this.#leave(index);
      if (isTokenError(error)) this.#token = undefined;
      listener.onEnd(toCallError(error));
    };
    const opening = this.#createMetadata().then((metadata) => {
      // A member that has lost its leader serves old data on streams, and answers pings, unless a client asks for this.
      metadata.set('hasleader', 'true');
      const serialize = createSerializer(requestType);
      const deserialize = createDeserializer(responseType);
      const client = this.#connect(index);
      const call = client.makeBidiStreamRequest(`/${fullName}/${name}`, serialize, deserialize, metadata, {});
      call.on('data', (response: Response) => {
        if (!isOver) listener.onResponse(response);
      });
      call.on('error', end);
      call.on('end', () => end(new EtcdError('unreachable', 'etcd ended the stream')));
      return call;
    });
    opening.catch(end);
    const cancel = (): void => {
      isOver = true;
      opening.then(
        (call) => call.cancel(),
        () => {},
      );
    };
    return {
      send: (request) =>
        void opening.then(
          (call) => !isOver && call.write(request),
          () => {},
        ),
      cancel,
      abandon: () => {
        cancel();
        this.#leave(index);
      },
    };
  }

  /** Makes later calls use the next member, unless another call has already done that. */
  #leave(index: number): void {
    if (index === this.#current) this.#current = (index + 1) % this.#options.endpoints.length;
  }

  /** Returns the channel to a member. Replaces one that was created with other certificates; calls on it can finish. */
  #connect(index: number): Client {
    const { endpoints, createSecurity, tls: getTls } = this.#options;
    const tls = getTls?.();
    const present = this.#connections.get(index);
    if (present?.tls === tls && present) return present.client;
    present?.client.close();
    const endpoint = endpoints[index] ?? '';
    const { credentials, options } = createSecurity(endpoint, tls);
    const client = new Client(endpoint, credentials, { ...CHANNEL_OPTIONS, ...options });
    this.#connections.set(index, { client, tls });
    return client;
  }

  async #createMetadata(): Promise<Metadata> {
    const metadata = new Metadata();
    const { login } = this.#options;
    if (!login) return metadata;
    this.#token ??= this.#authenticate(login());
    metadata.set('token', await this.#token);
    return metadata;
  }

  async #authenticate({ user, password }: StoreLogin): Promise<string> {
    try {
      const request = { name: user, password };
      const method = AuthDefinition.methods.authenticate;
      return (await this.#callOnce(AuthDefinition, method, request, new Metadata())).token;
    } catch (error) {
      this.#token = undefined;
      throw toCallError(error);
    }
  }
}

function createSerializer<T>(type: GeneratedMessage<T>): (message: T) => Buffer {
  return (message) => {
    const { buffer, byteOffset, byteLength } = type.encode(message).finish();
    return Buffer.from(buffer, byteOffset, byteLength);
  };
}

function createDeserializer<T>(type: GeneratedMessage<T>): (bytes: Buffer) => T {
  return (bytes) => type.decode(bytes);
}

function isServiceError(error: unknown): error is ServiceError {
  return typeof (error as ServiceError | undefined)?.code === 'number';
}

const SILENT_CODES: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.INTERNAL]);

/** Returns whether an error means that the member doesn't work, so that another one can answer. */
function isWithoutAnswer(error: unknown): boolean {
  return isServiceError(error) ? SILENT_CODES.has(error.code) : error instanceof EtcdError;
}

function isTokenError(error: unknown): boolean {
  return isServiceError(error) && /invalid auth token|revision of auth store is old/.test(error.details);
}

function toCallError(error: unknown): EtcdError {
  if (error instanceof EtcdError) return error;
  if (!isServiceError(error)) return new EtcdError('unreachable', String(error));
  return new EtcdError(toErrorKind(error), error.details);
}

function toErrorKind({ code, details }: ServiceError): EtcdErrorKind {
  if (/requested lease not found/.test(details)) return 'lease_lost';
  if (/database space exceeded/.test(details)) return 'no_space';
  switch (code) {
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return 'denied';
    case status.INVALID_ARGUMENT:
      return /user name is empty|authentication failed|authentication is not enabled/.test(details)
        ? 'denied'
        : 'rejected';
    case status.OUT_OF_RANGE:
    case status.FAILED_PRECONDITION:
    case status.UNIMPLEMENTED:
      return 'rejected';
    default:
      return 'unreachable';
  }
}
