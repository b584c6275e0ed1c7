import { AnyserveError } from '../../core/errors.js';
import type { InferenceResponse, Tensor, Tensors } from '../../inference/inference-data.js';
import { readUsage } from './usage.js';

/** Creates the body of a response of `/embeddings`. Throws `internal` unless the response has one vector for each text. */
export function createEmbeddingResponse(
  { outputs, parameters }: InferenceResponse,
  { model, count, isBase64 }: { readonly model: string; readonly count: number; readonly isBase64: boolean },
): string {
  const vectors = findVectors(outputs);
  const [rows, length] = vectors?.shape ?? [];
  if (!vectors || rows !== count || length === undefined) {
    const found = Object.entries(outputs).map(([name, { datatype, shape }]) => `${name} ${datatype}[${shape}]`);
    throw new AnyserveError(
      'internal',
      `the replica returned no vector for each of the ${count} texts, but ${found.join(', ') || 'nothing'}`,
    );
  }
  const numbers = Float32Array.from(vectors.data as Iterable<number>);
  const data = Array.from({ length: count }, (_, index) => {
    const vector = numbers.subarray(index * length, (index + 1) * length);
    return { object: 'embedding', index, embedding: isBase64 ? toBase64(vector) : [...vector] };
  });
  const usage = readUsage(parameters);
  const { prompt_tokens, total_tokens } = usage ?? {};
  return JSON.stringify({
    object: 'list',
    data,
    model,
    ...(usage && { usage: { prompt_tokens, total_tokens } }),
  });
}

/** Datatypes of vectors. FP16 and BF16 are decoded to FP32 when they are received. */
const VECTOR_DATATYPES: ReadonlySet<string> = new Set(['FP32', 'FP16', 'BF16', 'FP64']);

/** Returns the output `embedding`, or else the only output that is a matrix of floating-point numbers. */
function findVectors(outputs: Tensors): Tensor | undefined {
  const isMatrix = ({ datatype, shape }: Tensor): boolean => VECTOR_DATATYPES.has(datatype) && shape.length === 2;
  const { embedding } = outputs;
  if (embedding && isMatrix(embedding)) return embedding;
  const [only, ...others] = Object.values(outputs).filter(isMatrix);
  return others.length === 0 ? only : undefined;
}

function toBase64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, number] of vector.entries()) bytes.writeFloatLE(number, index * 4);
  return bytes.toString('base64');
}
