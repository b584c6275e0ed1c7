import { AnyserveError } from '../core/errors.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import type { RequestMessage, ResponseMessage } from '../inference/protocol-messages.js';
import { concatTextResponses } from '../inference/text-response.js';
import { hasNoReason } from './call-failure.js';
import type { InferenceChannel, StreamOptions } from './inference-channel.js';

/**
 * Whether a call failed because the model answers in any number of parts, and only in a stream: Triton calls such a model
 * decoupled, and says so in a status text.
 */
export function isDecoupledModelError(error: unknown): boolean {
  if (!(error instanceof AnyserveError) || error.code !== 'unimplemented') return false;
  return /decoupled/i.test(error.message) || hasNoReason(error);
}

/**
 * All parts of a stream as one answer: a text in one element, other outputs joined along their first dimension. Rejects
 * with `too_large` when the parts have more bytes together than one answer may have.
 */
export async function collectStream(
  channel: InferenceChannel,
  message: RequestMessage,
  options: StreamOptions,
  read: (part: ResponseMessage) => InferenceResponse,
): Promise<InferenceResponse> {
  const parts: InferenceResponse[] = [];
  for await (const part of channel.stream(message, options)) parts.push(read(part));
  const [first, ...others] = parts;
  if (!first) throw new AnyserveError('internal', `${channel.endpoint}: the stream ended without an answer`);
  return others.length === 0 ? first : concatTextResponses([first, ...others]);
}
