import { AnyserveError, type ErrorCode, messageOf } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { isDatatype } from '../wire/datatype.js';
import { declaredTensor } from '../wire/declared-tensor.js';
import type { ModelMetadataResponse_TensorMetadata as TensorMetadata } from '../wire/gen/open_inference.js';
import { INFERENCE_SERVICE } from '../wire/inference-service.js';
import type { Tensor } from '../wire/tensor.js';
import type { TensorSpec } from '../wire/tensor-spec.js';
import { isPlain, type TensorValue, tensorFromValue } from '../wire/tensor-value.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { unlessAborted } from './unless-aborted.js';

/** How long a model may take to say what it declares. */
const ANSWER_TIMEOUT_MS = 3000;

/** The inputs a model declares, by name; undefined: it has it, in a datatype that is none of the protocol's. */
export type DeclaredInputs = ReadonlyMap<string, TensorSpec | undefined>;

/**
 * Asks a model for its inputs. An answer is kept for as long as the channel; a failure that may pass is not,
 * and until then counts as saying nothing: it is only a hint, and whether the replica is there the inference will tell.
 */
export function declaredInputs(
  clock: Clock,
): (channel: InferenceChannel, name: string, version: string, call: CallOptions) => Promise<DeclaredInputs> {
  const known = new WeakMap<InferenceChannel, Map<string, Promise<DeclaredInputs>>>();
  return async (channel, name, version, { deadlineEpochMs, signal }) => {
    const ofChannel = known.get(channel) ?? new Map<string, Promise<DeclaredInputs>>();
    known.set(channel, ofChannel);
    const key = JSON.stringify([name, version]);
    const limit = Math.min(deadlineEpochMs, clock.epochMs() + ANSWER_TIMEOUT_MS);
    const asked = ofChannel.get(key) ?? ask(channel, name, version, limit);
    ofChannel.set(key, asked);
    try {
      // Others may wait for the same answer, so a caller that goes leaves it running.
      return await unlessAborted(asked, signal);
    } catch {
      signal?.throwIfAborted();
      ofChannel.delete(key);
      return new Map();
    }
  };
}

/**
 * The tensor of an input: of a plain value what is declared, of any other what it says. Throws `usage`, because one that
 * does not hold is the caller's mistake.
 */
export function inputTensor(model: string, name: string, value: TensorValue, declared: DeclaredInputs): Tensor {
  const label = `input ${JSON.stringify(name)}`;
  if (isPlain(value) && declared.size > 0 && !declared.has(name)) {
    const there = [...declared.keys()].map((known) => JSON.stringify(known)).join(', ');
    throw new AnyserveError('usage', `model ${JSON.stringify(model)} has no ${label}; its inputs: ${there}`);
  }
  const spec = declared.get(name);
  try {
    return spec && isPlain(value) ? declaredTensor(label, value, spec) : tensorFromValue(label, value);
  } catch (cause) {
    throw new AnyserveError('usage', messageOf(cause), { cause });
  }
}

async function ask(
  channel: InferenceChannel,
  name: string,
  version: string,
  deadlineEpochMs: number,
): Promise<DeclaredInputs> {
  try {
    const { inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, { deadlineEpochMs });
    return new Map(inputs.map((input) => [input.name, specFromMetadata(input)]));
  } catch (error) {
    if (!(error instanceof AnyserveError) || !SAYS_NOTHING.has(error.code)) throw error;
    return new Map();
  }
}

function specFromMetadata({ name, datatype, shape }: TensorMetadata): TensorSpec | undefined {
  return isDatatype(datatype) ? { name, datatype, shape: shape.map(Number) } : undefined;
}

/** How a server that has no metadata answers, now and later. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set(['unimplemented', 'not_found']);
