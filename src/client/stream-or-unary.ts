import { AnyserveError } from '../core/errors.js';
import type { RequestMessage, ResponseMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import type { InferenceChannel, StreamOptions } from './inference-channel.js';

/**
 * The parts of an answer as they come; from a server that has no streams, the whole as the one part. Such a server says
 * `unimplemented` before it has done anything. A whole answer must be there sooner than the last part of a stream.
 */
export async function* streamOrCallUnary(
  channel: InferenceChannel,
  message: RequestMessage,
  call: StreamOptions,
  wholeByEpochMs: number,
): AsyncGenerator<ResponseMessage> {
  let hasBegun = false;
  try {
    for await (const part of channel.stream(message, call)) {
      hasBegun = true;
      yield part;
    }
  } catch (error) {
    const hasNoStreams = error instanceof AnyserveError && error.code === 'unimplemented' && !hasBegun;
    if (!hasNoStreams) throw error;
    const deadlineEpochMs = Math.min(call.deadlineEpochMs, wholeByEpochMs);
    yield await channel.call(INFERENCE_SERVICE.modelInfer, message, { ...call, deadlineEpochMs });
  }
}
