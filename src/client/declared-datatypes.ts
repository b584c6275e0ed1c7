import { AnyserveError } from '../core/errors.js';
import { type Datatype, isDatatype } from '../wire/datatype.js';
import { INFERENCE_SERVICE } from '../wire/inference-service.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

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
  call: CallOptions,
): Promise<DeclaredDatatypes> {
  const declared = new Map<string, Datatype>();
  try {
    const { inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, call);
    for (const input of inputs) {
      if (isDatatype(input.datatype)) declared.set(input.name, input.datatype);
    }
  } catch (error) {
    if (!(error instanceof AnyserveError) || !SAYS_NOTHING.has(error.code)) throw error;
  }
  return declared;
}

/** How servers without metadata answer when asked for it; whether the model is there, the inference will tell. */
const SAYS_NOTHING = new Set(['unimplemented', 'not_found', 'unknown', 'internal', 'invalid_argument']);
