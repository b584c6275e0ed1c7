import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { formatTensorSpec } from '../inference/tensor-spec.js';
import { hasNoReason } from './call-failure.js';
import type { InputSpecs } from './declared-inputs.js';

/** Failures that have nothing to do with the inputs. */
const OF_NO_INPUT: ReadonlySet<ErrorCode> = new Set([
  'cancelled',
  'deadline_exceeded',
  'unavailable',
  'resource_exhausted',
  'unauthenticated',
  'permission_denied',
]);

/** Whether a replica refused an inference without a reason, so that what the model declares may tell it. */
export function needsExplanation(error: unknown): error is AnyserveError {
  return error instanceof AnyserveError && hasNoReason(error) && !OF_NO_INPUT.has(error.code);
}

/** The failure with what the model declares and what was sent, side by side. */
export function explainFailure(error: AnyserveError, declared: InputSpecs, message: RequestMessage): AnyserveError {
  const sent = message.inputs.map(
    ({ name, datatype, shape }) => `${name} ${formatTensorSpec({ datatype, shape: shape.map(Number) })}`,
  );
  const wanted = [...declared].map(
    ([name, spec]) => `${name} ${spec ? formatTensorSpec(spec) : 'of an unknown datatype'}`,
  );
  const model = JSON.stringify(message.modelName);
  const declares = wanted.length > 0 ? `model ${model} declares ${wanted.join(', ')}; ` : '';
  return new AnyserveError(error.code, `${error.message}; ${declares}sent: ${sent.join(', ') || 'nothing'}`, {
    cause: error,
  });
}
