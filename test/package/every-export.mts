// A program that uses every export of the library. test/e2e/package.test.ts compiles it against the packed package.
import {
  AnyserveError,
  type ApiServer,
  App,
  type AttemptTarget,
  type AttemptTrace,
  type Backend,
  type CallEvent,
  type CallTrace,
  type Capability,
  Client,
  type ClientOptions,
  type ClientReplica,
  type ClientTls,
  type CloseOptions,
  connectOpenaiBackend,
  createTracer,
  type Datatype,
  type DeclaredInputs,
  type DeclaredTensors,
  type Endpoint,
  type ErrorCode,
  type FailedAttempt,
  type Handler,
  type HandlerOutputs,
  HandlerResponse,
  type HandlerResult,
  type InferenceContext,
  type InferenceResponse,
  type InferOptions,
  type InferStreamOptions,
  type KeepRegisteredOptions,
  type KeptRegistration,
  keepRegistered,
  type LeaseChange,
  type LeaseEnd,
  type LeaseId,
  type LlamaBackendSettings,
  type Log,
  loadLlamaBackend,
  type Model,
  type ModelDeclaration,
  type ModelMetadata,
  type ModelRequestOptions,
  type OpenaiBackendSettings,
  type Parameters,
  type ParameterValue,
  type PickerName,
  type Registration,
  type RegistrationChange,
  type RegistrationStore,
  type Replica,
  type ReplicaId,
  type ReplicaLoad,
  type ReplicaState,
  type RequestedOutput,
  type RequestOptions,
  type ScalarPairs,
  SerializedReplica,
  type ServerId,
  type ServerMetadata,
  type ServerTls,
  type ServerToken,
  type StartApiServerOptions,
  type StartWorkerOptions,
  type StoreEvent,
  type StoreLogin,
  startApiServer,
  startWorker,
  type Tensor,
  type TensorData,
  type TensorDeclaration,
  type TensorMetadata,
  type TensorSpec,
  type Tensors,
  type TensorValue,
  TokenSet,
  type Tracer,
  tensorToTexts,
  type ValueOrGetter,
  type Worker,
} from 'anyserve';
import { createFetch, type FetchOptions, type ModelFetch } from 'anyserve/openai';

// Handlers whose inputs have the types that the declaration says.
export const app = new App()
  .capability(
    { type: 'every-datatype' },
    {
      inputs: {
        int32: 'INT32',
        int64: 'INT64[2]',
        uint64: 'UINT64[-1]',
        fp32: 'FP32[-1,3]',
        fp16: 'FP16',
        fp64: 'FP64',
        int8: 'INT8',
        bytes: 'BYTES',
        bool: 'BOOL[1]',
        maybe: 'INT32?',
        maybeShaped: 'FP32[-1,3]?',
      },
    },
    ({ int32, int64, uint64, fp32, fp16, fp64, int8, bytes, bool, maybe, maybeShaped }) => {
      const sum: number = int32.data.reduce((total, value) => total + value, 0);
      const total: bigint = int64.data.reduce((before, value) => before + value, 0n);
      const datatype: 'FP32' = fp32.datatype;
      const arrays: [Int32Array, BigInt64Array, BigUint64Array, Float32Array, Float32Array, Float64Array, Int8Array] = [
        int32.data,
        int64.data,
        uint64.data,
        fp32.data,
        fp16.data,
        fp64.data,
        int8.data,
      ];
      const first: Uint8Array | undefined = bytes.data[0];
      const yes: boolean | undefined = bool.data[0];
      // @ts-expect-error: an optional input can be undefined
      maybe.data;
      // @ts-expect-error: an optional input with a shape, too
      maybeShaped.data;
      // @ts-expect-error: INT32 is no array of bigint
      const wrong: BigInt64Array = int32.data;
      const optional: Int32Array | undefined = maybe?.data;
      const shaped: Float32Array | undefined = maybeShaped?.data;
      console.log(datatype, arrays, wrong, optional, shaped);
      return { sum: [sum], total: BigInt64Array.of(total), first: first ?? 'none', yes: yes ?? false };
    },
  )
  .capability({ type: 'stream' }, { inputs: { n: 'INT32' } }, async function* ({ n }, { signal }) {
    for (let at = 0; at < (n.data[0] ?? 0) && !signal.aborted; at++) yield { at: [at] };
  })
  .capability({ type: 'undeclared' }, (inputs) => ({ count: [Object.keys(inputs).length] }))
  .capability({ type: 'no-inputs' }, { outputs: { y: 'FP32' } }, (inputs) => ({ y: inputs['x'] ?? [1] }))
  // @ts-expect-error: no datatype has this name
  .capability({ type: 'typo' }, { inputs: { a: 'INT23' } }, () => ({}))
  // @ts-expect-error: an input that is not declared
  .capability({ type: 'stray' }, { inputs: { a: 'INT32' } }, ({ b }) => ({ b }));

export const pick: PickerName = 'least-request';
export const load: ReplicaLoad = { running: 3, waiting: 0, limit: 16 };
export const formatReplica = ({ id, callsInProgress, latencyMs }: ClientReplica): string =>
  `${id}: ${callsInProgress} calls, ${latencyMs ?? '-'} ms`;

const declared = { a: 'INT32', b: 'FP32[-1]?' } as const satisfies DeclaredTensors;
export const handler: Handler<DeclaredInputs<typeof declared>> = ({ a, b }) => ({ c: b?.data ?? a.data });
export const declaration: ModelDeclaration<typeof declared> = { name: 'm', version: '1', inputs: declared };
export const declarations: readonly TensorDeclaration[] = ['BOOL', 'BYTES[1]?'];
export const handlerOfAny: Handler = (inputs: Tensors, context: InferenceContext): HandlerResult => {
  const outputs: HandlerOutputs = { echo: inputs['x'] ?? null, model: context.model };
  return new HandlerResponse(outputs, { finish_reason: 'stop' });
};

/** A store of one's own: it keeps all registrations in this process, and mirrors those of another system. */
class MirroringStore implements RegistrationStore<SerializedReplica> {
  readonly registryId = undefined;
  readonly #registrations = new Map<LeaseId, Registration<SerializedReplica>>();
  readonly #listeners = new Set<(event: StoreEvent<SerializedReplica>) => void>();

  async start(): Promise<void> {
    const replica = { id: 'mirrored' as ReplicaId, endpoint: 'localhost:1' as Endpoint, capabilities: [] };
    const rest = { ownerUrl: undefined, instance: undefined, sinceEpochMs: 0, cordon: undefined, weight: 1 };
    // @ts-expect-error: the store of an API server has serialized replicas
    await this.put({ lease: 'l0' as LeaseId, owner: 's0' as ServerId, replica, state: 'ready', ...rest });
    const state: ReplicaState = 'ready';
    const serialized = new SerializedReplica(replica);
    await this.put({ lease: 'l1' as LeaseId, owner: 's1' as ServerId, replica: serialized, state, ...rest });
  }

  async put(registration: Registration<SerializedReplica>): Promise<void> {
    this.#registrations.set(registration.lease, registration);
    this.#notify({ kind: 'put', registration });
  }

  async change(lease: LeaseId, change: RegistrationChange<SerializedReplica>): Promise<void> {
    const previous = this.#registrations.get(lease);
    if (previous) this.#notify({ kind: 'change', registration: { ...previous, ...change } });
  }

  async delete(lease: LeaseId, end: LeaseEnd): Promise<void> {
    const replicaId = this.#registrations.get(lease)?.replica.id;
    if (this.#registrations.delete(lease) && replicaId) this.#notify({ kind: 'delete', lease, replicaId, end });
  }

  subscribe(listener: (event: StoreEvent<SerializedReplica>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }

  #notify(event: StoreEvent<SerializedReplica>): void {
    for (const listener of this.#listeners) listener(event);
  }
}

// @ts-expect-error: a store of plain replicas can't be used by an API server
export const plainStore: StartApiServerOptions['store'] = {} as RegistrationStore;

const log: Log = { info: console.log, warn: console.warn };
const serverTls: ServerTls = { cert: '', key: '' };
const clientTls: ClientTls = { ca: '' };
const storeLogin: StoreLogin = { user: '', password: '' };
const registerTokens: ValueOrGetter<TokenSet> = () => new TokenSet(['a-token-that-is-long-enough']);

export const shared: StartApiServerOptions = { store: 'etcds://h', storeTls: clientTls, storeLogin };

export async function runServers(): Promise<void> {
  const store = new MirroringStore();
  const serverOptions: StartApiServerOptions = { port: 0, registerTokens, tls: () => serverTls, log, store };
  const server: ApiServer = await startApiServer(serverOptions);
  const close: CloseOptions = { drainMs: 10, signal: AbortSignal.timeout(1000) };
  const llama: LlamaBackendSettings = { path: 'model.gguf' };
  const openai: OpenaiBackendSettings = { url: 'http://localhost:8000/v1', models: ['qwen2'], tls: clientTls };
  const backends: Backend[] = [app, await loadLlamaBackend(llama), await connectOpenaiBackend(openai)];
  const workerOptions: StartWorkerOptions = { backends, servers: [server.url], serverTls: clientTls, tls: serverTls };
  const worker: Worker = await startWorker(workerOptions);
  const capabilities: ScalarPairs[] = [{ type: 'chat', gpu: 1 }];
  const keep: KeepRegisteredOptions = { server: server.url, id: 'r1', endpoint: 'localhost:1', capabilities, onChange };
  const registered: KeptRegistration = await keepRegistered(keep);
  await registered.update({ capabilities });
  await registered.stop();
  const { id, endpoint, capabilities: registeredCapabilities }: Replica = worker.replica;
  const ids: [ReplicaId, Endpoint, readonly Capability[]] = [id, endpoint, registeredCapabilities];
  const model: Model | undefined = app.models[0];
  const spec: TensorSpec | undefined = model?.inputs?.[0];
  console.log(ids, spec?.datatype);
  await worker.drain();
  await server.close(close);
}

function onChange(change: LeaseChange): void {
  if (change.kind === 'lost') console.log(change.error.code, change.retryInMs);
  else console.log(change.server);
}

export async function callModels(): Promise<void> {
  const onRetry = ({ attempt, error, next }: FailedAttempt): void => console.log(attempt, error.message, next.endpoint);
  const onAttempt = (event: CallEvent): void => {
    const target: AttemptTarget = event.target;
    console.log(event.attempt, target.endpoint, event.kind === 'attempt_ended' ? event.code : 'started');
  };
  const trace: AttemptTrace = { headers: { traceparent: '00-0-0-01' }, end: ({ code }) => console.log(code) };
  const callTrace: CallTrace = { startAttempt: () => trace, end: () => {} };
  const tracer: Tracer = { startAttempt: callTrace.startAttempt, startCall: () => callTrace };
  const openTelemetryTracer: Tracer = await createTracer();
  const serverToken: ServerToken = (serverUrl) => (serverUrl === 'http://a:8080' ? 'secret' : undefined);
  const watch = { onRetry, onAttempt, tracer };
  const target = { server: 'http://localhost:8080', token: serverToken, capability: { type: 'chat' } };
  const options: ClientOptions = { ...target, ...watch, tracer: openTelemetryTracer };
  const client = new Client(options);
  const parameters: Parameters = { temperature: 0.5, top_k: 1n satisfies ParameterValue };
  const output: RequestedOutput = { name: 'text', parameters };
  const request: RequestOptions = { timeoutMs: 1000 };
  const modelRequest: ModelRequestOptions = { ...request, version: '1' };
  const infer: InferOptions = { ...modelRequest, parameters, outputs: [output] };
  const stream: InferStreamOptions = { ...infer, fallBackToUnary: true };
  const inputs: Record<string, TensorValue> = {
    prompt: ['Hello'],
    n: new Int32Array(2),
    nested: [
      [1, 2],
      [3, 4],
    ],
  };
  try {
    const answer: InferenceResponse = await client.infer('chat', inputs, infer);
    const tensor: Tensor | undefined = answer.outputs['text'];
    const data: TensorData | undefined = tensor?.data;
    const datatype: Datatype | undefined = tensor?.datatype;
    console.log(tensor && tensorToTexts(tensor), data?.length, datatype);
    for await (const part of client.inferStream('chat', inputs, stream)) console.log(part.parameters);
    const server: ServerMetadata = await client.serverMetadata(request);
    const model: ModelMetadata = await client.modelMetadata('chat', modelRequest);
    const input: TensorMetadata | undefined = model.inputs[0];
    console.log(server.version, input?.shape);
  } catch (error) {
    const code: ErrorCode | undefined = error instanceof AnyserveError ? error.code : undefined;
    console.log(code);
  }
  await client.close();
}

export async function callWithFetch(): Promise<void> {
  const onRetry = ({ next }: FailedAttempt): void => console.log(next.endpoint);
  const options: FetchOptions = { server: 'http://localhost:8080', pick, keys: { 'http://a:1': () => 'key' }, onRetry };
  const modelFetch: ModelFetch = createFetch(options);
  const init: RequestInit = { method: 'POST', body: '{"model":"m"}', signal: AbortSignal.timeout(1000) };
  const response: Response = await modelFetch(new URL('http://anyserve/v1/chat/completions'), init);
  const replicas: readonly ClientReplica[] = await modelFetch.replicas();
  console.log(response.status, replicas.map(formatReplica));
  await modelFetch.close();
}
