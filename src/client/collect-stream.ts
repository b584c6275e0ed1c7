import { AnyserveError } from '../core/errors.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import type { RequestMessage, ResponseMessage } from '../inference/protocol-messages.js';
import { concatTextResponses } from '../inference/text-response.js';
import { hasNoReason } from './call-failure.js';
import type { InferenceChannel, StreamOptions } from './inference-channel.js';

/**
 * Returns whether a unary call failed because the model can only stream. Triton calls such a model decoupled, and says so
 * in the status text only.
 */
export function isDecoupledModelError(error: unknown): boolean {
  if (!(error instanceof AnyserveError) || error.code !== 'unimplemented') return false;
  return /decoupled/i.test(error.message) || hasNoReason(error);
}

/**
 * Makes a streaming call and joins its messages into one response: text becomes one element, other outputs are
 * concatenated along their first dimension. Rejects with `too_large` if the messages exceed the limit together.
 */
export async function collectStream(
  channel: InferenceChannel,
  request: RequestMessage,
  options: StreamOptions,
  parse: (message: ResponseMessage) => InferenceResponse,
): Promise<InferenceResponse> {
  const responses: InferenceResponse[] = [];
  for await (const message of channel.stream(request, options)) responses.push(parse(message));
  const [first, ...rest] = responses;
  if (!first) throw new AnyserveError('internal', `${channel.endpoint}: the stream ended without a response`);
  return rest.length === 0 ? first : concatTextResponses([first, ...rest]);
}
