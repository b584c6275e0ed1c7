import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { type Datatype, isDatatype } from '../wire/datatype.js';
import { INFERENCE_SERVICE } from '../wire/inference-service.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { unlessAborted } from './unless-aborted.js';

/** How long a model may take to say what it declares. */
const ANSWER_TIMEOUT_MS = 3000;

/** The datatypes a model declares for its inputs, by name. */
export type DeclaredDatatypes = ReadonlyMap<string, Datatype>;

/**
 * Asks a model for its input datatypes. An answer is kept for as long as the channel; a failure that may pass is not,
 * and until then counts as saying nothing: it is only a hint, and whether the replica is there the inference will tell.
 */
export function declaredDatatypes(
  clock: Clock,
): (channel: InferenceChannel, name: string, version: string, call: CallOptions) => Promise<DeclaredDatatypes> {
  const known = new WeakMap<InferenceChannel, Map<string, Promise<DeclaredDatatypes>>>();
  return async (channel, name, version, { deadlineEpochMs, signal }) => {
    const ofChannel = known.get(channel) ?? new Map<string, Promise<DeclaredDatatypes>>();
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

async function ask(
  channel: InferenceChannel,
  name: string,
  version: string,
  deadlineEpochMs: number,
): Promise<DeclaredDatatypes> {
  const declared = new Map<string, Datatype>();
  try {
    const { inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, { deadlineEpochMs });
    for (const input of inputs) {
      if (isDatatype(input.datatype)) declared.set(input.name, input.datatype);
    }
  } catch (error) {
    if (!(error instanceof AnyserveError) || !SAYS_NOTHING.has(error.code)) throw error;
  }
  return declared;
}

/** How a server that has no metadata answers, now and later. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set(['unimplemented', 'not_found']);
