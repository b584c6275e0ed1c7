import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { getDatatypeInfo } from './datatype.js';
import type { Tensor, TensorData, Tensors } from './inference-data.js';
import { mergeParameters } from './parameters.js';

/** Tensors given in parts, joined by name along their first dimension. Throws `internal` where parts do not fit. */
export function concatTensors(parts: readonly Tensors[]): Tensors {
  const byName = new Map<string, Tensor[]>();
  for (const part of parts) {
    for (const [name, tensor] of Object.entries(part)) {
      const tensors = byName.get(name);
      if (tensors) tensors.push(tensor);
      else byName.set(name, [tensor]);
    }
  }
  const joined: Record<string, Tensor> = Object.create(null);
  for (const [name, tensors] of byName) joined[name] = join(name, tensors);
  return joined;
}

function join(name: string, tensors: readonly Tensor[]): Tensor {
  const [first] = tensors as [Tensor];
  const { datatype } = first;
  const rest = first.shape.slice(1);
  for (const tensor of tensors) {
    const fits =
      tensor.datatype === datatype && tensor.shape.length > 0 && tensor.shape.slice(1).join() === rest.join();
    if (!fits)
      throw new AnyserveError('internal', `the parts of output ${quote(name)} differ in more than their length`);
  }
  const length = tensors.reduce((total, { shape }) => total + (shape[0] ?? 0), 0);
  const told = tensors.flatMap(({ parameters }) => (parameters ? [{ parameters }] : []));
  const parameters = told.length > 0 && { parameters: mergeParameters(told) };
  return { datatype, shape: [length, ...rest], data: joinedData(tensors), ...parameters };
}

function joinedData(tensors: readonly Tensor[]): TensorData {
  const { array } = getDatatypeInfo((tensors[0] as Tensor).datatype);
  if (!array) return tensors.flatMap(({ data }) => [...(data as readonly boolean[])]);
  const joined = new array(tensors.reduce((total, { data }) => total + data.length, 0));
  let at = 0;
  for (const { data } of tensors) {
    joined.set(data as never, at);
    at += data.length;
  }
  return joined;
}
