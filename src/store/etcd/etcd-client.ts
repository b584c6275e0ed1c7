import { Metadata } from '@grpc/grpc-js';
import type { Clock } from '../../core/ports.js';
import { quote } from '../../core/quoting.js';
import type { StoreLogin } from '../../core/store-login.js';
import { type EtcdApi, EtcdError, type EtcdStream, type StreamListener } from './etcd-api.js';
import { EtcdChannels, type EtcdChannelsOptions } from './etcd-channels.js';
import { createEtcdError, isTokenError, isWithoutAnswer } from './etcd-failures.js';
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
export interface EtcdClientOptions extends EtcdChannelsOptions {
  /** Returns the current user and password. Undefined: no authentication. */
  readonly login: () => StoreLogin | undefined;
  readonly clock: Clock;
}

/** Deadline of a unary call, in ms. An etcd that is paused, or has no quorum, doesn't answer at all. */
const UNARY_TIMEOUT_MS = 2000;

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

/** A client of etcd's API. It calls one member, and the next one after a call without an answer. */
export class EtcdClient implements EtcdApi {
  readonly #options: EtcdClientOptions;
  readonly #channels: EtcdChannels;
  /** Token of the logged-in user; undefined before the login. */
  #token: Promise<string> | undefined;
  /** Login that the token is for. */
  #login: StoreLogin | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
    this.#channels = new EtcdChannels(options);
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
    this.#channels.close();
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
      if (!isTokenError(error) || !this.#options.login()) throw createEtcdError(error);
      if (this.#token === token) this.#token = undefined;
    }
    return this.#callOnce(service, method, request, await this.#createMetadata()).catch((error) => {
      throw createEtcdError(error);
    });
  }

  #callOnce<Request, Response>(
    { fullName }: { readonly fullName: string },
    { name, requestType, responseType }: MethodDefinition<Request, Response>,
    request: Request,
    metadata: Metadata,
  ): Promise<Response> {
    const index = this.#channels.current;
    const deadline = this.#options.clock.epochMs() + UNARY_TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      this.#channels
        .connect(index)
        .makeUnaryRequest(
          `/${fullName}/${name}`,
          createSerializer(requestType),
          createDeserializer(responseType),
          request,
          metadata,
          { deadline },
          (error, response) => {
            if (!error && response !== undefined) return resolve(response);
            if (isWithoutAnswer(error)) this.#channels.leave(index);
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
    const index = this.#channels.current;
    let isOver = false;
    const end = (error: unknown): void => {
      if (isOver) return;
      isOver = true;
      if (isWithoutAnswer(error)) this.#channels.leave(index);
      if (isTokenError(error)) this.#token = undefined;
      listener.onEnd(createEtcdError(error));
    };
    const opening = this.#createMetadata().then((metadata) => {
      // A member that has lost its leader serves old data on streams, and answers pings, unless a client asks for this.
      metadata.set('hasleader', 'true');
      const serialize = createSerializer(requestType);
      const deserialize = createDeserializer(responseType);
      const client = this.#channels.connect(index);
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
        this.#channels.leave(index);
      },
    };
  }

  async #createMetadata(): Promise<Metadata> {
    const metadata = new Metadata();
    const login = this.#options.login();
    if (!login) return metadata;
    if (login.user !== this.#login?.user || login.password !== this.#login.password) this.#token = undefined;
    this.#login = login;
    this.#token ??= this.#authenticate(login);
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
      const { kind, message } = createEtcdError(error);
      throw new EtcdError(kind, kind === 'denied' ? `user ${quote(user)}: ${message}; check the login` : message);
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
