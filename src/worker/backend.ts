import type { Capability } from '../core/capability.js';
import type { ReplicaLoad } from '../core/load.js';
import type { HandlerResult, Parameters, Tensors } from '../inference/inference-data.js';
import type { TensorSpec } from '../inference/tensor-spec.js';

/** The call that a handler processes. */
export interface InferenceContext {
  /** Model name as the caller sent it. */
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly parameters: Parameters;
  /** Names of the requested outputs. Empty: all outputs. */
  readonly outputs: readonly string[];
  /** Parameters of individual outputs, by output name. Those of individual inputs are in the inputs' `parameters`. */
  readonly outputParameters?: Readonly<Record<string, Parameters>>;
  /** Whether the caller receives each partial result as it is produced. Otherwise it waits for a single response. */
  readonly streaming: boolean;
  /** Aborted when the caller disconnects or its deadline passes. */
  readonly signal: AbortSignal;
}

/**
 * Processes an inference request. A generator yields partial results: a streaming call receives them one by one, a
 * unary call receives them concatenated along the first dimension, with the parameters of all of them merged.
 */
export type Handler<Inputs = Tensors> = (
  inputs: Inputs,
  context: InferenceContext,
) => HandlerResult | Promise<HandlerResult> | AsyncGenerator<HandlerResult> | Generator<HandlerResult>;

/** A model that a worker serves. */
export interface Model {
  readonly name: string;
  /** Versions that callers can name. Empty: any version. */
  readonly versions: readonly string[];
  /** Platform that runs the model, as shown in its metadata. */
  readonly platform: string;
  /** Capabilities to register. */
  readonly capabilities: readonly Capability[];
  /** Declared inputs. Undefined: nothing is declared, and requests are not checked. */
  readonly inputs: readonly TensorSpec[] | undefined;
  readonly outputs: readonly TensorSpec[] | undefined;
  /** Whether the model is used when a caller names a type that several models have. */
  readonly preferred?: boolean;
  readonly handle: Handler;
  /** Whether the handler ignores parameters of individual inputs and outputs. Requests that have some are then rejected. */
  readonly ignoresTensorParameters?: boolean;
}

/** A source of models: a user's module, a built-in backend, or an engine in this process or on another host. */
export interface Backend {
  /** The current models. See {@link watchModels}. */
  readonly models: readonly Model[];
  /** Calls the listener after each change of {@link models}. A backend without this method never changes its models. */
  watchModels?(listener: () => void): void;
  /**
   * Checks that the models can be called, and rejects with the reason if they can't. Can also replace {@link models}, if it
   * reads a list of them. A worker with a failing backend receives no traffic. A backend without this method always counts as healthy.
   */
  check?(signal: AbortSignal): Promise<void>;
  /** Timeout for a check, in ms. Default: 1,000. */
  readonly checkTimeoutMs?: number;
  /**
   * Calls the listener with each load that the engine behind this backend reports, and with undefined when it is no longer
   * known. If this is the worker's only backend, the worker reports this load instead of its own.
   */
  watchLoad?(listener: (load: ReplicaLoad | undefined) => void): void;
  /** Maximum number of calls that run at once, if the worker's options don't set it. Default: 64. */
  readonly maxConcurrency?: number;
  /** Releases the backend's connections and memory. */
  close?(): Promise<void>;
}
