/**
 * ModelInfer over gRPC. First the codec: calls with it, with the plain generated code and with proto-loader, against
 * calls whose messages are bytes that are copied. Then the client: `Client.infer` at a fixed endpoint against a bare call
 * of the library with the same codec. Server and client run on one core, so that calls a second tell of the work of both;
 * one call after the other. Told a part of a payload's name, it measures that alone.
 */

import { credentials, Client as GrpcClient, type handleUnaryCall, Metadata, ServerCredentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { InferenceClient } from '../src/client/client.js';
import { startWorker } from '../src/compose.js';
import type { Datatype } from '../src/inference/datatype.js';
import { ModelInferRequest, ModelInferResponse } from '../src/inference/gen/open_inference.js';
import { createGrpcOptions } from '../src/inference/grpc-options.js';
import type { TensorData } from '../src/inference/inference-data.js';
import type { RequestMessage, ResponseMessage } from '../src/inference/protocol-messages.js';
import { type InferenceRequest, toInferenceResponse, toRequestMessage } from '../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../src/inference/service-definition.js';
import { clock, random } from '../src/system.js';
import { createEchoBackend } from '../src/worker/echo-backend.js';
import { createLargeWindowServer } from '../src/worker/grpc-js-workarounds.js';
import { built, start } from './child-process.js';
import { median, medianRatio, nowUs, rounded } from './figures.js';
import { projectFile } from './project-file.js';
import { report } from './report.js';

/** How long each way is used before anything is measured: what the first one warms, all others would profit from. */
const FIRST_WARM_UP_MS = 3000;
const WARM_UP_MS = 500;
/**
 * Rounds are short, and many: on a machine that others use, too, neighbours in time have the same of it, and minutes have
 * not. But none is of so few calls that garbage is always cleared away in the turn of the same way.
 */
const ROUND_MS = 25;
const ROUND_CALLS = 10;
const LONGEST_ROUND_MS = 200;
const LEAST_ROUNDS = 15;
/** How long two ways are compared. */
const COMPARISON_MS = 5000;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const OPTIONS = createGrpcOptions(MAX_MESSAGE_BYTES);
const FLOATS = Float32Array.from({ length: 262_144 }, (_, at) => Math.sin(at));

/** What is sent, and comes back as it was sent. */
const PAYLOADS: Readonly<Record<string, InferenceRequest>> = {
  'short prompt': request('BYTES', [Buffer.from('Why is the sky blue on a clear day?')], false),
  '1 MiB raw': request('FP32', FLOATS, true),
  '1 MiB fp32_contents': request('FP32', FLOATS, false),
  '1 MiB int_contents': request(
    'INT32',
    Int32Array.from(FLOATS, (float) => Math.round(float * 50_000)),
    false,
  ),
};

function request(datatype: Datatype, data: TensorData, raw: boolean): InferenceRequest {
  const inputs = { x: { datatype, shape: [data.length], data } };
  return { model: 'echo', version: '', id: '', parameters: {}, outputs: [], inputs, raw };
}

/** How the messages of a method become bytes and come back, with the request as this way of doing it wants it. */
interface Codec {
  readonly request: (message: RequestMessage) => unknown;
  readonly serialize: (message: never) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
  readonly serveDeserialize: (bytes: Buffer) => unknown;
  readonly serveSerialize: (message: never) => Buffer;
  readonly answer: (request: never) => unknown;
}

const { requestSerialize, requestDeserialize, responseSerialize, responseDeserialize } = INFERENCE_SERVICE.modelInfer;
const PATH = INFERENCE_SERVICE.modelInfer.path;
const loaded = loadSync(projectFile('proto/open_inference.proto'))['inference.GRPCInferenceService'] as unknown as {
  ModelInfer: typeof INFERENCE_SERVICE.modelInfer;
};

/** The answer to a request: what it held, under the names that an answer has. */
const echoed = ({ modelName, modelVersion, id, parameters, inputs, rawInputContents }: RequestMessage) => ({
  modelName,
  modelVersion,
  id,
  parameters,
  outputs: inputs,
  rawOutputContents: rawInputContents,
});

const copied = (bytes: Buffer): Buffer => Buffer.from(bytes);

const CODECS: Readonly<Record<string, Codec>> = {
  // A request and an answer of the same tensors have the same bytes, but for the number of the raw field.
  'bytes copied': {
    request: requestSerialize,
    serialize: copied,
    deserialize: copied,
    serveDeserialize: copied,
    serveSerialize: copied,
    answer: (bytes) => bytes,
  },
  anyserve: {
    request: (message) => message,
    serialize: requestSerialize,
    deserialize: responseDeserialize,
    serveDeserialize: requestDeserialize,
    serveSerialize: responseSerialize,
    answer: echoed,
  },
  'ts-proto': {
    request: (message) => ModelInferRequest.decode(requestSerialize(message)),
    serialize: (message) => Buffer.from(ModelInferRequest.encode(message).finish().buffer),
    deserialize: (bytes) => ModelInferResponse.decode(bytes),
    serveDeserialize: (bytes) => ModelInferRequest.decode(bytes),
    serveSerialize: (message) => Buffer.from(ModelInferResponse.encode(message).finish().buffer),
    answer: echoed,
  },
  'proto-loader': {
    request: (message) => loaded.ModelInfer.requestDeserialize(requestSerialize(message)),
    serialize: loaded.ModelInfer.requestSerialize,
    deserialize: loaded.ModelInfer.responseDeserialize,
    serveDeserialize: loaded.ModelInfer.requestDeserialize,
    serveSerialize: loaded.ModelInfer.responseSerialize,
    answer: echoed,
  },
};

/** A bare server that answers with what it is given, in each codec, and a worker that does so, too; their endpoints. */
async function serve(): Promise<void> {
  const worker = await startWorker({ backends: [createEchoBackend()], port: 0, servers: [] });
  const { server, widen } = createLargeWindowServer(OPTIONS);
  for (const [name, codec] of Object.entries(CODECS)) {
    const method = {
      ...INFERENCE_SERVICE.modelInfer,
      path: pathOf(name),
      requestDeserialize: codec.serveDeserialize,
      responseSerialize: codec.serveSerialize as (message: unknown) => Buffer,
    };
    const echo: handleUnaryCall<unknown, unknown> = ({ request }, answer) =>
      answer(null, codec.answer(request as never));
    server.addService({ infer: method as never }, { infer: echo });
  }
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, port) => {
    widen();
    console.log(`127.0.0.1:${port} ${worker.replica.endpoint}`);
  });
}

const pathOf = (codec: string): string => `/bench.${Object.keys(CODECS).indexOf(codec)}/infer`;

/** One way to make a call, and the calls a second of each round. */
interface Way {
  readonly what: string;
  readonly call: () => Promise<unknown>;
  readonly perSecond: number[];
}

/** Calls as fast as the answers come, one after the other. */
async function round({ call }: Pick<Way, 'call'>, leastMs = ROUND_MS): Promise<number> {
  const startUs = nowUs();
  const mostMs = Math.max(leastMs, LONGEST_ROUND_MS);
  let calls = 0;
  for (let ms = 0; ms < leastMs || (calls < ROUND_CALLS && ms < mostMs); ms = (nowUs() - startUs) / 1000) {
    await call();
    calls++;
  }
  return (calls / (nowUs() - startUs)) * 1e6;
}

/** Runs two ways in turns, and no third, whose garbage they would have to clear away; a line for the second. */
async function compared(payload: string, rival: Omit<Way, 'perSecond'>, way: Omit<Way, 'perSecond'>, ratio: string) {
  const both: [Way, Way] = [
    { ...rival, perSecond: [] },
    { ...way, perSecond: [] },
  ];
  for (const each of both) await round(each, WARM_UP_MS);
  const endUs = nowUs() + COMPARISON_MS * 1000;
  for (let n = 0; n < LEAST_ROUNDS || nowUs() < endUs; n++) {
    const order = n % 2 === 0 ? both : both.toReversed();
    for (const each of order) each.perSecond.push(await round(each));
  }
  const [first, second] = both;
  return {
    what: `${payload}: ${second.what}`,
    perSecond: rounded(median(second.perSecond)),
    rivalPerSecond: rounded(median(first.perSecond)),
    [ratio]: rounded(medianRatio(second.perSecond, first.perSecond)),
  };
}

/** A call of the library alone. */
function unary(client: GrpcClient, path: string, codec: Pick<Codec, 'serialize' | 'deserialize'>, message: unknown) {
  const options = { deadline: Date.now() + 60_000 };
  const serialize = codec.serialize as (message: unknown) => Buffer;
  return new Promise<unknown>((resolve, reject) => {
    client.makeUnaryRequest(path, serialize, codec.deserialize, message, new Metadata(), options, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

async function measure(only = ''): Promise<void> {
  const [codecs = '', endpoint = ''] = (await start(built('infer', 'serve'), { core: 0 })).line.split(' ');
  const bare = new GrpcClient(codecs, credentials.createInsecure(), OPTIONS);
  const bareAtWorker = new GrpcClient(endpoint, credentials.createInsecure(), OPTIONS);
  const client = new InferenceClient({ endpoint }, { clock, random });
  const ourCodec = { serialize: requestSerialize, deserialize: responseDeserialize };
  /** The ways to send a request, each codec's at the bare server and the two at the worker. */
  const waysFor = (request: InferenceRequest) => {
    const codecs = Object.entries(CODECS).map(([what, codec]) => {
      const message = codec.request(toRequestMessage(request));
      return { what, call: () => unary(bare, pathOf(what), codec, message) };
    });
    const bareCall = {
      what: 'bare call',
      async call() {
        const answer = await unary(bareAtWorker, PATH, ourCodec, toRequestMessage(request));
        return toInferenceResponse(answer as ResponseMessage);
      },
    };
    const { inputs, raw } = request;
    return { codecs, bareCall, ours: { what: 'Client.infer', call: () => client.infer('echo', inputs, { raw }) } };
  };
  const first = waysFor(PAYLOADS['short prompt'] as InferenceRequest);
  for (const way of [...first.codecs, first.bareCall, first.ours]) await round(way, FIRST_WARM_UP_MS);
  const rows = [];
  for (const [payload, request] of Object.entries(PAYLOADS).filter(([name]) => name.includes(only))) {
    const { codecs, bareCall, ours } = waysFor(request);
    const [copying, ...others] = codecs;
    for (const way of others) if (copying) rows.push(await compared(payload, copying, way, 'ofCopying'));
    rows.push(await compared(payload, bareCall, ours, 'ofBareCall'));
  }
  report({ name: 'infer', rows, compared: { ofCopying: 'more', ofBareCall: 'more' } });
}

const [first] = process.argv.slice(2);
if (first === 'serve') await serve();
else {
  await measure(first);
  process.exit();
}
