import './node-version.js';

export { Answer, type HandlerOutputs, type HandlerResult } from './inference/handler-result.js';

import { InferenceClient } from './client/client.js';
import type { ClientOptions } from './client/client-options.js';
import * as system from './system.js';

export { type LlamaModel, llamaBackend, type OpenaiModels, openaiBackend } from './backends.js';
export type {
  ClientOptions,
  FailedAttempt,
  InferOptions,
  InferStreamOptions,
  RequestOptions,
} from './client/client-options.js';
export type { LeaseChange } from './client/lease-change.js';
export {
  type KeepRegisteredOptions,
  keepRegistered,
  type Registered,
  type StartApiServerOptions,
  type StartWorkerOptions,
  startApiServer,
  startWorker,
} from './compose.js';
export type { Capability } from './core/capability.js';
export type { Changing } from './core/changing.js';
export { AnyserveError, type ErrorCode } from './core/errors.js';
export type { Endpoint, ReplicaId } from './core/ids.js';
export type { AttemptTarget, CallEvent, Log } from './core/ports.js';
export type { Replica } from './core/replica.js';
export type { ClientTls, ServerTls } from './core/tls.js';
export { TokenSet } from './credentials/token-set.js';
export type { ApiServer, CloseOptions } from './server/api-server-handle.js';
export type { Datatype } from './wire/datatype.js';
export type {
  InferenceAnswer,
  ModelMetadata,
  Parameters,
  ParameterValue,
  RequestedOutput,
  ServerMetadata,
  Tensor,
  TensorData,
  TensorMetadata,
  Tensors,
} from './wire/inference-data.js';
export type { ScalarPairs } from './wire/replica-json.js';
export { textsFromTensor } from './wire/tensor-json.js';
export type { TensorSpec } from './wire/tensor-spec.js';
export type { TensorValue } from './wire/tensor-value.js';
export { App, type ModelDeclaration } from './worker/app.js';
export type { Backend, Handler, InferenceContext, Model } from './worker/backend.js';
export type { DeclaredInputs, DeclaredTensors, TensorDeclaration } from './worker/typed-handler.js';
export type { Worker } from './worker/worker-handle.js';

/**
 * Calls models by what they can do, straight at a replica that can:
 *
 * ```ts
 * const client = new Client({ server: 'http://localhost:8080', capability: { type: 'chat' } });
 * const { outputs } = await client.infer('chat', { prompt: ['Hello, world!'] });
 * await client.close();
 * ```
 */
export class Client extends InferenceClient {
  /** Throws `usage` unless given either an endpoint that can be dialled, or a server and a capability. */
  constructor(options: ClientOptions) {
    super(options, system);
  }
}
