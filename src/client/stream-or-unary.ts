import { AnyserveError } from '../core/errors.js';
import type { RequestMessage, ResponseMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import type { InferenceChannel, StreamOptions } from './inference-channel.js';

/**
 * Makes a streaming call and yields its messages. If the server has no streams, makes a unary call and yields its response.
 * A retry is safe then, because such a server fails with `unimplemented` before it has done anything. The unary call has
 * its own deadline, because a unary response is expected sooner than the last message of a stream.
 */
export async function* streamOrCallUnary(
  channel: InferenceChannel,
  request: RequestMessage,
  call: StreamOptions,
  unaryDeadlineEpochMs: number,
): AsyncGenerator<ResponseMessage> {
  let hasBegun = false;
  try {
    for await (const message of channel.stream(request, call)) {
      hasBegun = true;
      yield message;
    }
  } catch (error) {
    const hasNoStreams = error instanceof AnyserveError && error.code === 'unimplemented' && !hasBegun;
    if (!hasNoStreams) throw error;
    const deadlineEpochMs = Math.min(call.deadlineEpochMs, unaryDeadlineEpochMs);
    yield await channel.call(INFERENCE_SERVICE.modelInfer, request, { ...call, deadlineEpochMs });
  }
}
