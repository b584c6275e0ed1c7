import type { IncomingMessage, ServerResponse } from 'node:http';
import type { InferenceCall, InferenceStream } from '../client/inference-caller.js';
import type { GrpcCalls } from '../client/lazy-inference-caller.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import { JsonSyntaxError, parseJson } from '../json/exact-json.js';
import { isJsonObject, type JsonObject } from '../json/json-value.js';
import type { BackendCall, CallBackend, OpenResponse } from './call-backend.js';
import type { CallPath } from './call-paths.js';
import { endResponse, type RelayEnd, type RelayOptions } from './response-relay.js';
import { createEmbeddingRequest } from './translation/embedding-request.js';
import { createEmbeddingResponse } from './translation/embedding-response.js';
import { TextEventStream } from './translation/text-event-stream.js';
import { CHAT_FORMAT, COMPLETION_FORMAT, type ResponseHead, type TextFormat } from './translation/text-format.js';
import { TextMessageReader } from './translation/text-message-reader.js';
import { createChatRequest, createCompletionRequest, type TextRequest } from './translation/text-request.js';

/** Options of a {@link GrpcBackend}. */
export interface GrpcBackendOptions {
  readonly caller: GrpcCalls;
  /** Returns a new id of a response, without its prefix. */
  readonly createId: () => string;
  readonly clock: Clock;
}

/** A translation of the requests of one path: opens a response at a replica. */
type Translation = (call: BackendCall, body: JsonObject) => Promise<OpenResponse>;

/**
 * Translates OpenAI's API to the Open Inference Protocol, and responses back, for replicas that speak gRPC. Requests follow the
 * text contract, or the inputs of Triton's backends for language models.
 */
export class GrpcBackend implements CallBackend {
  readonly protocol = 'grpc';
  readonly #options: GrpcBackendOptions;
  readonly #translations: ReadonlyMap<string, Translation> = new Map<string, Translation>([
    ['/chat/completions', (call, body) => this.#openText(call, createChatRequest(call.target, body), CHAT_FORMAT)],
    [
      '/completions',
      (call, body) => this.#openText(call, createCompletionRequest(call.target, body), COMPLETION_FORMAT),
    ],
    ['/embeddings', (call, body) => this.#openEmbeddings(call, body)],
  ]);

  constructor(options: GrpcBackendOptions) {
    this.#options = options;
  }

  supports({ path }: CallPath): boolean {
    return this.#translations.has(path);
  }

  async open(call: BackendCall): Promise<OpenResponse> {
    const translate = this.#translations.get(call.path.path) as Translation;
    return translate(call, parseBody(call.body));
  }

  async #openText(call: BackendCall, text: TextRequest, format: TextFormat): Promise<OpenResponse> {
    const { caller, createId, clock } = this.#options;
    const head: ResponseHead = {
      id: format.idPrefix + createId(),
      created: Math.floor(clock.epochMs() / 1000),
      model: call.read.model.name,
    };
    const inferenceCall = this.#createCall(call, text.request);
    if (text.isStream) {
      const stream = await caller.stream(inferenceCall, DEFAULTS.streamTimeoutMs);
      return openEventStream(stream, { format, head, includeUsage: text.includeUsage });
    }
    const { response, replicaId } = await caller.infer(inferenceCall);
    const reader = new TextMessageReader();
    const piece = reader.read(response);
    return createWholeResponse(replicaId, JSON.stringify(format.createResponse(head, piece, reader.end())));
  }

  async #openEmbeddings(call: BackendCall, body: JsonObject): Promise<OpenResponse> {
    const { request, count, isBase64 } = createEmbeddingRequest(call.target, body);
    const { response, replicaId } = await this.#options.caller.infer(this.#createCall(call, request));
    const json = createEmbeddingResponse(response, { model: call.read.model.name, count, isBase64 });
    return createWholeResponse(replicaId, json);
  }

  #createCall(call: BackendCall, request: InferenceCall['request']): InferenceCall {
    const { discovery, path, affinity, caller, onAttempt, onBegin } = call;
    return {
      discovery,
      request,
      settings: { affinity, failWhenBusy: true, caller, onBegin },
      timeoutMs: path.isText ? DEFAULTS.textCallTimeoutMs : DEFAULTS.callTimeoutMs,
      headers: getTraceHeaders(call.request),
      onAttempt,
    };
  }
}

/** Request headers that continue the caller's trace at the replica (W3C Trace Context). */
const TRACE_HEADERS = ['traceparent', 'tracestate'];

function getTraceHeaders({ headers }: IncomingMessage): Readonly<Record<string, string>> | undefined {
  const found = TRACE_HEADERS.flatMap((name): [string, string][] => {
    const value = headers[name];
    // gRPC metadata is printable ASCII.
    return typeof value === 'string' && /^[ -~]+$/.test(value) ? [[name, value]] : [];
  });
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

async function openEventStream(
  stream: InferenceStream,
  options: ConstructorParameters<typeof TextEventStream>[1],
): Promise<OpenResponse> {
  try {
    const events = new TextEventStream(stream, options);
    return {
      replicaId: stream.replicaId,
      status: 200,
      isEventStream: true,
      keepsRequest: true,
      send: (response, relay, _isAbandoned, onEnd) => void events.send(response, relay, onEnd),
    };
  } catch (error) {
    await stream.messages.return(undefined);
    throw error;
  }
}

function createWholeResponse(replicaId: ReplicaId | undefined, json: string): OpenResponse {
  return {
    replicaId,
    status: 200,
    isEventStream: false,
    keepsRequest: false,
    send: (response, relay, _isAbandoned, onEnd) => sendJson(response, json, relay, onEnd),
  };
}

function sendJson(
  response: ServerResponse,
  json: string,
  { addedHeaders, readTimeoutMs }: RelayOptions,
  onEnd: (end: RelayEnd) => void,
): void {
  const body = Buffer.from(json);
  const length = String(body.length);
  response.writeHead(200, ['content-type', 'application/json', 'content-length', length, ...addedHeaders]);
  response.write(body);
  endResponse(response, readTimeoutMs);
  onEnd({ error: undefined, bytes: body.length, tail: [body] });
}

/** Parses a body. Throws `invalid_argument` for one that is not a JSON object. */
function parseBody(pieces: readonly Buffer[]): JsonObject {
  try {
    const body = parseJson(Buffer.concat(pieces).toString());
    if (isJsonObject(body)) return body;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new AnyserveError(
      'invalid_argument',
      `the body is not JSON at character ${error.position}: ${error.message}`,
    );
  }
  throw new AnyserveError('invalid_argument', 'the body is not a JSON object');
}
