import './node-version.js';

import { InferenceClient } from './client/client.js';
import type { ClientOptions } from './client/client-options.js';
import * as system from './system.js';

export { SerializedReplica } from './api/serialized-replica.js';
export {
  connectOpenaiBackend,
  type LlamaBackendSettings,
  loadLlamaBackend,
  type OpenaiBackendSettings,
} from './backends.js';
export type {
  ClientOptions,
  ClientReplica,
  FailedAttempt,
  InferOptions,
  InferStreamOptions,
  ModelRequestOptions,
  PickerName,
  RequestOptions,
} from './client/client-options.js';
export type { LeaseChange } from './client/lease-change.js';
export { createTracer, type KeptRegistration, keepRegistered, startApiServer, startWorker } from './compose.js';
export type { KeepRegisteredOptions, StartApiServerOptions, StartWorkerOptions } from './compose-options.js';
export type { Capability } from './core/capability.js';
export { AnyserveError, type ErrorCode } from './core/errors.js';
export type { Endpoint, LeaseId, ReplicaId, ServerId } from './core/ids.js';
export type { ReplicaLoad } from './core/load.js';
export type { ServerToken, ValueOrGetter } from './core/options.js';
export type {
  AttemptTarget,
  AttemptTrace,
  CallEvent,
  CallTrace,
  Log,
  RegistrationStore,
  StoreEvent,
  Tracer,
} from './core/ports.js';
export type { LeaseEnd, Registration, RegistrationChange, Replica, ReplicaState } from './core/replica.js';
export type { StoreLogin } from './core/store-login.js';
export type { ClientTls, ServerTls } from './core/tls.js';
export { TokenSet } from './credentials/token-set.js';
export type { Datatype } from './inference/datatype.js';
export {
  type HandlerOutputs,
  HandlerResponse,
  type HandlerResult,
  type InferenceResponse,
  type ModelMetadata,
  type Parameters,
  type ParameterValue,
  type RequestedOutput,
  type ServerMetadata,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
  type TensorValue,
} from './inference/inference-data.js';
export { tensorToTexts } from './inference/tensor-json.js';
export type { TensorSpec } from './inference/tensor-spec.js';
export type { ScalarPairs } from './json/capability-json.js';
export type { ApiServer, CloseOptions } from './server/api-server-handle.js';
export { App, type ModelDeclaration } from './worker/app.js';
export type { Backend, Handler, InferenceContext, Model } from './worker/backend.js';
export type { DeclaredInputs, DeclaredTensors, TensorDeclaration } from './worker/typed-handler.js';
export type { Worker } from './worker/worker-settings.js';

/**
 * A client that finds a replica by capability and calls its model directly:
 *
 * ```ts
 * const client = new Client({ server: 'http://localhost:8080', capability: { type: 'chat' } });
 * const { outputs } = await client.infer('chat', { prompt: ['Hello, world!'] });
 * await client.close();
 * ```
 */
export class Client extends InferenceClient {
  /** Throws `usage` unless the options have either a valid `endpoint`, or both `server` and `capability`. */
  constructor(options: ClientOptions) {
    super(options, system);
  }
}
