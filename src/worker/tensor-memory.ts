import type { TensorData, Tensors } from '../inference/inference-data.js';

/** Estimated size of the Uint8Array object of a BYTES element, without its contents. */
const BYTES_ELEMENT_OVERHEAD = 100;

/** Size of a boolean in an array. */
const BOOLEAN_BYTES = 8;

/** Estimates the memory that tensors take, in bytes. */
export function estimateTensorMemory(tensors: Tensors): number {
  let bytes = 0;
  for (const name in tensors) bytes += estimateDataMemory(tensors[name]?.data as TensorData);
  return bytes;
}

function estimateDataMemory(data: TensorData): number {
  if (ArrayBuffer.isView(data)) return data.byteLength;
  if (typeof data[0] === 'boolean') return data.length * BOOLEAN_BYTES;
  let bytes = data.length * BYTES_ELEMENT_OVERHEAD;
  for (const element of data as readonly Uint8Array[]) bytes += element.length;
  return bytes;
}
