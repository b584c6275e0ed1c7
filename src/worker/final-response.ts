import type { InferenceRequest } from '../wire/inference.js';
import type { InferenceAnswer } from '../wire/inference-data.js';

/** Triton's names: the request's for wanting to know which response is the last, and the response's for saying so. */
const WANTED = 'triton_enable_empty_final_response';
const IS_FINAL = 'triton_final_response';

/** Whether the caller wants each response to say whether it is the last. */
export function wantsFinalResponse({ parameters }: InferenceRequest): boolean {
  return parameters[WANTED] === true;
}

/** The answer, which says whether it is the last. */
export function withFinal(answer: InferenceAnswer, isFinal: boolean): InferenceAnswer {
  return { ...answer, parameters: { ...answer.parameters, [IS_FINAL]: isFinal } };
}

/**
 * The response after the last part. Whether another part comes is not known before it does, and no part waits for it: Triton
 * sends an empty response, too, for models that answer in parts.
 */
export function emptyFinal({ model, version, id }: InferenceRequest): InferenceAnswer {
  return withFinal({ model, version, id, outputs: {}, parameters: {} }, true);
}
