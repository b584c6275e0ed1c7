import { AnyserveError } from '../core/errors.js';
import { HandlerResponse, type HandlerResult, type Tensors } from '../inference/inference-data.js';
import type { UntrustedJson } from '../inference/openai-errors.js';
import { readEndParameters } from '../inference/openai-message.js';
import { createOpenAiRequestBody } from '../inference/openai-request.js';
import { EMBEDDING_INPUTS, EMBEDDING_OUTPUTS, readEmbeddingTexts } from '../inference/text-contract.js';
import type { InferenceContext, Model } from './backend.js';
import type { OpenaiServer } from './openai-server.js';

/** Maximum size of a response. JSON takes up to 25 bytes per number, and vectors have up to 16,384 numbers. */
const MAX_BYTES_PER_TEXT = 512 * 1024;
const MAX_BYTES = 256 * 1024 * 1024;

/** Creates the handler of an embedding model, on top of `/embeddings`. */
export function createOpenaiEmbedding(
  server: OpenaiServer,
  model: string,
): Pick<Model, 'inputs' | 'outputs' | 'handle'> {
  return {
    inputs: EMBEDDING_INPUTS,
    outputs: EMBEDDING_OUTPUTS,
    handle: (inputs, context) => embed(server, model, inputs, context),
  };
}

/** Returns one vector per text. */
async function embed(
  server: OpenaiServer,
  model: string,
  inputs: Tensors,
  { parameters, signal }: InferenceContext,
): Promise<HandlerResult> {
  const texts = readEmbeddingTexts(inputs);
  const body = createOpenAiRequestBody(model, parameters).set('input', texts).set('encoding_format', 'float');
  const maxBytes = Math.min(MAX_BYTES, (texts.length + 2) * MAX_BYTES_PER_TEXT);
  const { data, usage } = await server.post('/embeddings', body, signal, maxBytes);
  const vectors = server.addUrlToErrors(() => parseVectors(data, texts.length));
  return new HandlerResponse({ embedding: vectors }, readEndParameters(undefined, usage));
}

/**
 * Parses the vectors of a response, in the order of the texts. Throws `internal` unless there is one vector per text, all
 * of the same length, of numbers that fit into FP32. A guessed replacement for a broken vector would never be noticed.
 */
export function parseVectors(data: UntrustedJson, count: number) {
  if (!Array.isArray(data)) throw createVectorError(`its response has no list of vectors for the ${count} texts`);
  if (data.length !== count) throw createVectorError(`its response has ${data.length} vectors for ${count} texts`);
  const ordered = sortByIndex(data);
  const length = getVectorLength(ordered);
  const vectors = new Float32Array(count * length);
  for (const [index, { embedding }] of ordered.entries()) {
    if (!Array.isArray(embedding)) throw createNotAVectorError(index, embedding);
    if (embedding.length !== length) {
      throw createVectorError(
        `vector ${index} of its response has ${embedding.length} numbers, vector 0 has ${length}`,
      );
    }
    for (let position = 0; position < length; position++) {
      const value = embedding[position];
      if (Array.isArray(value)) {
        throw createVectorError(
          `its response has one vector per token for text ${index}; configure a pooling with one vector per text in the engine`,
        );
      }
      // A number above 3.4e38 would become infinite in FP32.
      if (typeof value !== 'number' || !Number.isFinite(Math.fround(value))) {
        throw createVectorError(
          `vector ${index} of its response has ${formatJson(value)} at index ${position}, which is not an FP32 number`,
        );
      }
      vectors[index * length + position] = value;
    }
  }
  return { datatype: 'FP32', shape: [count, length], data: vectors } as const;
}

function getVectorLength([first]: readonly UntrustedJson[]): number {
  if (!Array.isArray(first?.embedding)) throw createNotAVectorError(0, first?.embedding);
  if (first.embedding.length === 0) throw createVectorError('vector 0 of its response is empty');
  return first.embedding.length;
}

/** Returns the vectors sorted by index, or unchanged if none has an index. Throws `internal` for invalid indices. */
function sortByIndex(data: readonly UntrustedJson[]): readonly UntrustedJson[] {
  if (data.every((item) => item?.index === undefined || item.index === null)) return data;
  const ordered: UntrustedJson[] = [];
  for (const item of data) {
    const index: unknown = item?.index;
    const isInRange = Number.isInteger(index) && (index as number) >= 0 && (index as number) < data.length;
    if (!isInRange || ordered[index as number] !== undefined) {
      throw createVectorError(`its response has an unknown or repeated index ${formatJson(index)}`);
    }
    ordered[index as number] = item;
  }
  return ordered;
}

function createNotAVectorError(index: number, value: unknown): AnyserveError {
  if (typeof value === 'string')
    return createVectorError(`vector ${index} of its response is a base64 text, although floats were requested`);
  return createVectorError(`vector ${index} of its response is ${formatJson(value)}, not a list of numbers`);
}

function formatJson(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'missing');
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function createVectorError(problem: string): AnyserveError {
  return new AnyserveError('internal', problem);
}
