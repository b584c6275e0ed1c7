import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { getDatatypeInfo } from './datatype.js';
import type { Tensor, TensorData, Tensors } from './inference-data.js';
import { mergeParameters } from './parameters.js';

/**
 * Concatenates the tensors of several messages, by name, along their first dimension. Throws `internal` if the tensors of
 * a name differ in datatype or in the other dimensions.
 */
export function concatTensors(messages: readonly Tensors[]): Tensors {
  const byName = new Map<string, Tensor[]>();
  for (const message of messages) {
    for (const [name, tensor] of Object.entries(message)) {
      const tensors = byName.get(name);
      if (tensors) tensors.push(tensor);
      else byName.set(name, [tensor]);
    }
  }
  const result: Record<string, Tensor> = Object.create(null);
  for (const [name, tensors] of byName) result[name] = concatOne(name, tensors);
  return result;
}

function concatOne(name: string, tensors: readonly Tensor[]): Tensor {
  const [first] = tensors as [Tensor];
  const { datatype } = first;
  const rest = first.shape.slice(1);
  for (const tensor of tensors) {
    const isCompatible =
      tensor.datatype === datatype && tensor.shape.length > 0 && tensor.shape.slice(1).join() === rest.join();
    if (!isCompatible) {
      const message = `the messages of output ${quote(name)} differ in datatype or in shape beyond the first dimension`;
      throw new AnyserveError('internal', message);
    }
  }
  const length = tensors.reduce((total, { shape }) => total + (shape[0] ?? 0), 0);
  const allParameters = tensors.flatMap(({ parameters }) => (parameters ? [{ parameters }] : []));
  const parameters = allParameters.length > 0 && { parameters: mergeParameters(allParameters) };
  return { datatype, shape: [length, ...rest], data: concatData(tensors), ...parameters };
}

function concatData(tensors: readonly Tensor[]): TensorData {
  const { array } = getDatatypeInfo((tensors[0] as Tensor).datatype);
  if (!array) return tensors.flatMap(({ data }) => [...(data as readonly boolean[])]);
  const result = new array(tensors.reduce((total, { data }) => total + data.length, 0));
  let offset = 0;
  for (const { data } of tensors) {
    result.set(data as never, offset);
    offset += data.length;
  }
  return result;
}
