import type { Capability } from '../core/capability.js';
import type { Tensors } from '../wire/inference.js';
import type { Parameters } from '../wire/parameters.js';
import type { TensorSpec } from '../wire/tensor-spec.js';
import type { TensorValue } from '../wire/tensor-value.js';

/** What a handler knows of the call it answers. */
export interface InferenceContext {
  /** The model's name as the caller gave it. */
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly parameters: Parameters;
  /** The outputs wanted; none: all. */
  readonly outputs: readonly string[];
  /** Aborted when the caller has gone or its deadline has passed. */
  readonly signal: AbortSignal;
}

/** Outputs by name, as a handler gives them: tensors, typed arrays or plain values. */
export type HandlerOutputs = Readonly<Record<string, TensorValue>>;

/**
 * Answers an inference. A generator answers in parts: a streaming call gets them one by one, a single call all
 * of them joined along the first dimension.
 */
export type Handler = (
  inputs: Tensors,
  context: InferenceContext,
) => HandlerOutputs | Promise<HandlerOutputs> | AsyncGenerator<HandlerOutputs> | Generator<HandlerOutputs>;

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
  readonly handle: Handler;
}

/** Something that runs models: a user's module, a built-in, or later an engine somewhere else. */
export interface Backend {
  readonly models: readonly Model[];
  /** Ends what it holds open. */
  close?(): Promise<void>;
}
