import type { Capability } from '../core/capability.js';
import type { HandlerResult } from '../inference/handler-result.js';
import type { Parameters, Tensors } from '../inference/inference-data.js';
import type { TensorSpec } from '../inference/tensor-spec.js';

/** What a handler knows of the call it answers. */
export interface InferenceContext {
  /** The model's name as the caller gave it. */
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly parameters: Parameters;
  /** The outputs wanted; none: all. */
  readonly outputs: readonly string[];
  /** What is said of single outputs, by name; of single inputs it is in their `parameters`. */
  readonly outputParameters?: Readonly<Record<string, Parameters>>;
  /** Whether the caller takes the answer in parts, as they come; else it waits for the whole. */
  readonly streaming: boolean;
  /** Aborted when the caller has gone or its deadline has passed. */
  readonly signal: AbortSignal;
}

/**
 * Answers an inference. A generator answers in parts: a streaming call gets them one by one, a single call all
 * of them joined along the first dimension, with the parameters of all.
 */
export type Handler<Inputs = Tensors> = (
  inputs: Inputs,
  context: InferenceContext,
) => HandlerResult | Promise<HandlerResult> | AsyncGenerator<HandlerResult> | Generator<HandlerResult>;

/** A model as a worker serves it. */
export interface Model {
  readonly name: string;
  /** The versions it answers to; none: any. */
  readonly versions: readonly string[];
  /** What kind of thing runs it, for metadata. */
  readonly platform: string;
  /** What it can do, as it is registered. */
  readonly capabilities: readonly Capability[];
  /** What it takes; undefined: it does not say, and anything is let through. */
  readonly inputs: readonly TensorSpec[] | undefined;
  readonly outputs: readonly TensorSpec[] | undefined;
  /** Whether it is the one to take when a caller asks for a type that several models have. */
  readonly preferred?: boolean;
  readonly handle: Handler;
  /** Whether parameters of single inputs and outputs would be ignored; requests that have some are refused then. */
  readonly ignoresTensorParameters?: boolean;
}

/** Something that runs models: a user's module, a built-in, or an engine, here or somewhere else. */
export interface Backend {
  /** The models it runs now; see {@link watchModels}. */
  readonly models: readonly Model[];
  /** Calls the listener after each change of {@link models}. A backend without it keeps its models. */
  watchModels?(listener: () => void): void;
  /**
   * Looks whether the models can be called; rejects with the reason while they cannot. A worker whose backend fails
   * this is not routed to. A backend without it is well for as long as its process.
   */
  check?(signal: AbortSignal): Promise<void>;
  /** Time that a check can take, in ms. Default: 1,000. */
  readonly checkLimitMs?: number;
  /** Calls that run at once, where the worker's options say nothing. Default: 64. */
  readonly maxConcurrency?: number;
  /** Ends what it holds open. */
  close?(): Promise<void>;
}
