import type { TensorData, Tensors } from '../inference/inference-data.js';

/** What an element of a BYTES tensor takes besides its bytes: an object. */
const BYTES_OBJECT = 100;

/** What a boolean takes in an array. */
const BOOLEAN_BYTES = 8;

/** About how much memory tensors take. */
export function estimateTensorMemory(tensors: Tensors): number {
  let bytes = 0;
  for (const name in tensors) bytes += memoryOfData(tensors[name]?.data as TensorData);
  return bytes;
}

function memoryOfData(data: TensorData): number {
  if (ArrayBuffer.isView(data)) return data.byteLength;
  if (typeof data[0] === 'boolean') return data.length * BOOLEAN_BYTES;
  let bytes = data.length * BYTES_OBJECT;
  for (const element of data as readonly Uint8Array[]) bytes += element.length;
  return bytes;
}
