import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { formatTensorSpec } from '../inference/tensor-spec.js';
import { hasNoReason } from './call-failure.js';
import type { InputSpecs } from './input-spec-cache.js';

/** Error codes that have nothing to do with the inputs. */
const INPUT_INDEPENDENT_CODES: ReadonlySet<ErrorCode> = new Set([
  'cancelled',
  'deadline_exceeded',
  'unavailable',
  'resource_exhausted',
  'unauthenticated',
  'permission_denied',
]);

/** Reports whether a replica refused an inference without a reason, so that the declared inputs can help to find it. */
export function needsExplanation(error: unknown): error is AnyserveError {
  return error instanceof AnyserveError && hasNoReason(error) && !INPUT_INDEPENDENT_CODES.has(error.code);
}

/** Adds the declared inputs and the sent inputs to the message of an error. */
export function explainFailure(error: AnyserveError, specs: InputSpecs, message: RequestMessage): AnyserveError {
  const sent = message.inputs.map(
    ({ name, datatype, shape }) => `${name} ${formatTensorSpec({ datatype, shape: shape.map(Number) })}`,
  );
  const declared = [...specs].map(
    ([name, spec]) => `${name} ${spec ? formatTensorSpec(spec) : 'of an unknown datatype'}`,
  );
  const model = JSON.stringify(message.modelName);
  const declares = declared.length > 0 ? `model ${model} declares ${declared.join(', ')}; ` : '';
  return new AnyserveError(error.code, `${error.message}; ${declares}sent: ${sent.join(', ') || 'nothing'}`, {
    cause: error,
  });
}
