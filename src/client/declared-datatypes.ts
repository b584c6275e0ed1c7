import { type Datatype, isDatatype } from '../wire/datatype.js';
import { INFERENCE_SERVICE } from '../wire/inference-service.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/** How long a model may take to say what it declares. */
const ANSWER_TIMEOUT_MS = 3000;

/** The datatypes a model declares for its inputs, by name. */
export type DeclaredDatatypes = ReadonlyMap<string, Datatype>;

/** Asks a model for its input datatypes; once for each channel, model and version. A server that cannot say says none. */
export function declaredDatatypes(): (
  channel: InferenceChannel,
  name: string,
  version: string,
  call: CallOptions,
) => Promise<DeclaredDatatypes> {
  const known = new WeakMap<InferenceChannel, Map<string, DeclaredDatatypes>>();
  return async (channel, name, version, call) => {
    const ofChannel = known.get(channel) ?? new Map<string, DeclaredDatatypes>();
    known.set(channel, ofChannel);
    const key = JSON.stringify([name, version]);
    const declared = ofChannel.get(key) ?? (await ask(channel, name, version, call));
    ofChannel.set(key, declared);
    return declared;
  };
}

async function ask(
  channel: InferenceChannel,
  name: string,
  version: string,
  { timeoutMs, signal }: CallOptions,
): Promise<DeclaredDatatypes> {
  const declared = new Map<string, Datatype>();
  try {
    const limited = { timeoutMs: Math.min(timeoutMs, ANSWER_TIMEOUT_MS), signal };
    const { inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, limited);
    for (const input of inputs) {
      if (isDatatype(input.datatype)) declared.set(input.name, input.datatype);
    }
  } catch {
    // It is only a hint: whether the replica and the model are there, the inference will tell.
    signal?.throwIfAborted();
  }
  return declared;
}
