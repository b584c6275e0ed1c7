import { setMaxListeners } from 'node:events';
import { type CapabilityQuery, pairsFrom } from '../core/capability.js';
import { type Changing, lookup } from '../core/changing.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import { parseDialable, type ReplicaId } from '../core/ids.js';
import type { Clock, Random } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import type { ModelMetadataResponse, ServerMetadataResponse } from '../wire/gen/open_inference.js';
import {
  answerFromMessage,
  type InferenceAnswer,
  type InferenceRequest,
  messageFromRequest,
  type Tensors,
} from '../wire/inference.js';
import type { AnswerMessage } from '../wire/inference-message.js';
import { INFERENCE_SERVICE } from '../wire/inference-service.js';
import type { Parameters } from '../wire/parameters.js';
import type { Tensor } from '../wire/tensor.js';
import { isPlain, type TensorValue } from '../wire/tensor-value.js';
import { ApiClient } from './api-client.js';
import { ChannelPool } from './channel-pool.js';
import { type DeclaredInputs, declaredInputs, inputTensor } from './declared-inputs.js';
import { capabilityDiscovery, type Discovery, fixedDiscovery } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { partsOrWhole } from './parts-or-whole.js';
import { type FailedAttempt, RetryingCaller } from './retry.js';

/** How a client finds its replica: by asking API servers for a capability, or by being told the endpoint. */
export interface ClientOptions {
  /** The URL of an API server, or several that are asked in turn. */
  readonly server?: string | readonly string[] | undefined;
  /** What the replica must be able to do; goes with `server`. */
  readonly capability?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** The bearer token to show the API servers. */
  readonly token?: Changing<string> | undefined;
  /** Whom to trust, and what to show: at API servers behind `https`, and at replicas, which are then called over TLS. */
  readonly tls?: Changing<ClientTls> | undefined;
  /** Whether replicas are called over TLS; if `tls` is given, unless told. */
  readonly callTls?: boolean | undefined;
  /** The endpoint of a replica, `host:port`, to call without asking anyone. */
  readonly endpoint?: string | undefined;
  /** The bearer token to show the replicas. */
  readonly callToken?: Changing<string> | undefined;
  /** How long a call may take, all its tries together, in milliseconds; 60,000 unless told. */
  readonly timeoutMs?: number | undefined;
  /** The largest message taken or sent, in bytes; 64 MiB unless told. */
  readonly maxMessageBytes?: number | undefined;
  /** Told of each try that failed and is followed by another. */
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  /**
   * Whether a call that nothing matches waits a little for replicas that may be on their way back, when the API server
   * has just started; true unless told.
   */
  readonly waitWhileWarming?: boolean | undefined;
}

/** What every call can be told. */
export interface RequestOptions {
  /** How long it may take, all its tries together, in milliseconds; the client's own limit unless told. */
  readonly timeoutMs?: number | undefined;
  /** Cancels it; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What an inference can be told. */
export interface InferOptions extends RequestOptions {
  /** The model's version; the server chooses unless told. */
  readonly version?: string | undefined;
  /** An id that the answer repeats. */
  readonly id?: string | undefined;
  readonly parameters?: Parameters | undefined;
  /** The outputs wanted; all unless told. */
  readonly outputs?: readonly string[] | undefined;
  /** Sends the tensors as raw bytes, as servers that answer raw do. */
  readonly raw?: boolean | undefined;
  /** Whether a failed call is tried at another replica; true unless told. Only discovery finds others. */
  readonly retryOnFailure?: boolean | undefined;
}

/** What an inference in parts can be told. */
export interface InferStreamOptions extends InferOptions {
  /** Whether a replica that cannot stream answers whole, as the one part; else that fails with `unimplemented`. */
  readonly orWhole?: boolean | undefined;
}

/** What the world gives a client. */
export interface ClientWorld {
  readonly clock: Clock;
  readonly random: Random;
}

/** Calls models by what they can do, straight at a replica that can. */
export class InferenceClient {
  readonly #given: string | undefined;
  readonly #discovery: Discovery;
  readonly #channels: ChannelPool;
  readonly #caller: RetryingCaller;
  readonly #declared: ReturnType<typeof declaredInputs>;
  readonly #closed = new AbortController();

  /** Throws `usage` unless given either an endpoint that can be dialled, or a server and a capability. */
  constructor(options: ClientOptions, world: ClientWorld) {
    const {
      maxMessageBytes = DEFAULTS.maxMessageBytes,
      timeoutMs = DEFAULTS.callTimeoutMs,
      onRetry,
      waitWhileWarming = true,
    } = options;
    const query = pairsFrom(
      Object.entries(options.capability ?? {}).map(([key, value]) => [key, String(value)] as const),
    );
    this.#given = options.endpoint;
    this.#declared = declaredInputs(world.clock);
    // Every call listens on it, and there may be many at once.
    setMaxListeners(0, this.#closed.signal);
    this.#discovery = discoveryFrom(options, query);
    this.#channels = new ChannelPool({
      maxMessageBytes,
      clock: world.clock,
      token: lookup(options.callToken),
      tls: callTlsFrom(options),
    });
    this.#caller = new RetryingCaller({
      discovery: this.#discovery,
      channels: this.#channels,
      query,
      timeoutMs,
      waitWhileWarming,
      closed: this.#closed.signal,
      onRetry,
      ...world,
    });
  }

  /** Where the last successful call went, else the endpoint given; undefined when there is neither. */
  get endpoint(): string | undefined {
    return this.#caller.kept?.endpoint ?? this.#given;
  }

  /** The replica that the last successful call went to; undefined before it, and behind a given endpoint. */
  get replicaId(): ReplicaId | undefined {
    return this.#caller.kept?.replicaId;
  }

  /**
   * One inference. Plain values become exactly what the model declares, datatype and shape; where it declares nothing,
   * integers become INT32 and other numbers FP32, in the shape of their nesting. For plain values the model is asked
   * what it declares, once a connection: the first call takes one more round trip. Typed arrays and
   * `{ datatype, shape, data }` are sent as they are. Rejects with an `AnyserveError`, or with the signal's reason.
   */
  infer(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferOptions = {},
  ): Promise<InferenceAnswer> {
    return this.#caller.call(options, async (channel, call) => {
      const request = await this.#request(channel, model, inputs, options, call);
      const message = await channel.call(INFERENCE_SERVICE.modelInfer, messageFromRequest(request), call);
      return checkedAnswer(channel, message);
    });
  }

  /** One inference whose answer comes in parts, as they come. It is tried elsewhere only while no part has come. */
  inferStream(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions = {},
  ): AsyncGenerator<InferenceAnswer> {
    const request = this.#request.bind(this);
    return this.#caller.stream(options, async function* (channel, call) {
      const message = messageFromRequest(await request(channel, model, inputs, options, call));
      const parts = options.orWhole ? partsOrWhole(channel, message, call) : channel.stream(message, call);
      for await (const part of parts) yield checkedAnswer(channel, part);
    });
  }

  /** Whether the replica's server is up. */
  serverLive(options: RequestOptions = {}): Promise<boolean> {
    return this.#caller.call(options, async (channel, call) => {
      const { live } = await channel.call(INFERENCE_SERVICE.serverLive, {}, call);
      return live;
    });
  }

  /** Whether the replica's server takes calls. */
  serverReady(options: RequestOptions = {}): Promise<boolean> {
    return this.#caller.call(options, async (channel, call) => {
      const { ready } = await channel.call(INFERENCE_SERVICE.serverReady, {}, call);
      return ready;
    });
  }

  /** Whether a model takes calls at the replica. */
  modelReady(name: string, options: RequestOptions & { version?: string } = {}): Promise<boolean> {
    return this.#caller.call(options, async (channel, call) => {
      const { ready } = await channel.call(
        INFERENCE_SERVICE.modelReady,
        { name, version: options.version ?? '' },
        call,
      );
      return ready;
    });
  }

  /** Name, version and extensions of the replica's server. */
  serverMetadata(options: RequestOptions = {}): Promise<ServerMetadataResponse> {
    return this.#caller.call(options, (channel, call) => channel.call(INFERENCE_SERVICE.serverMetadata, {}, call));
  }

  /** What a model declares of its inputs and outputs. */
  modelMetadata(name: string, options: RequestOptions & { version?: string } = {}): Promise<ModelMetadataResponse> {
    const request = { name, version: options.version ?? '' };
    return this.#caller.call(options, (channel, call) => channel.call(INFERENCE_SERVICE.modelMetadata, request, call));
  }

  /** Ends every call, those under way with `cancelled`, and every connection. */
  async close(): Promise<void> {
    this.#closed.abort(new AnyserveError('cancelled', 'the client is closed'));
    this.#discovery.close();
    this.#channels.close();
  }

  async #request(
    channel: InferenceChannel,
    model: string,
    values: Readonly<Record<string, TensorValue>>,
    { version = '', id = '', parameters = {}, outputs = [], raw = false }: InferOptions,
    call: CallOptions,
  ): Promise<InferenceRequest> {
    const named = Object.entries(values);
    const declared: DeclaredInputs = named.some(([, value]) => isPlain(value))
      ? await this.#declared(channel, model, version, call)
      : new Map();
    const inputs: Record<string, Tensor> = Object.create(null);
    for (const [name, value] of named) inputs[name] = inputTensor(model, name, value, declared);
    return { model, version, id, inputs: inputs as Tensors, parameters, outputs, raw };
  }
}

/** The answer of a message; one that does not hold is the replica's failure, and another may do better. */
function checkedAnswer({ endpoint }: InferenceChannel, message: AnswerMessage): InferenceAnswer {
  try {
    return answerFromMessage(message);
  } catch (cause) {
    throw new AnyserveError('internal', `${endpoint}: a malformed answer: ${messageOf(cause)}`, { cause });
  }
}

const SYSTEM_TLS: ClientTls = {};

/** What calls over TLS go by; undefined for calls in plain text. */
function callTlsFrom({ tls, callTls = tls !== undefined }: ClientOptions): (() => ClientTls) | undefined {
  return callTls ? (lookup(tls) ?? (() => SYSTEM_TLS)) : undefined;
}

function discoveryFrom({ endpoint, server, capability, token, tls }: ClientOptions, query: CapabilityQuery): Discovery {
  const servers = typeof server === 'string' ? [server] : (server ?? []);
  if (endpoint !== undefined && servers.length > 0) {
    throw new AnyserveError(
      'usage',
      'give an endpoint or a server, not both: an endpoint is called without asking anyone',
    );
  }
  if (endpoint !== undefined) return fixedDiscovery(parseDialable(endpoint));
  if (servers.length === 0) throw new AnyserveError('usage', 'give an endpoint to call, or a server to ask for one');
  if (capability === undefined) {
    throw new AnyserveError('usage', 'a server needs a capability to be asked for, such as { type: "chat" }');
  }
  return capabilityDiscovery(new ApiClient(servers, { token: lookup(token), tls: lookup(tls) }), query);
}
