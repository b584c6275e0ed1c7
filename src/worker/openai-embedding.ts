import { AnyserveError } from '../core/errors.js';
import { EMBEDDING_INPUTS, EMBEDDING_OUTPUTS, readEmbeddingTexts } from '../inference/embedding.js';
import { HandlerResponse, type HandlerResult } from '../inference/handler-result.js';
import type { Tensors } from '../inference/inference-data.js';
import type { UntrustedJson } from '../inference/openai-errors.js';
import { readEndParameters } from '../inference/openai-message.js';
import { createOpenAiRequestBody } from '../inference/openai-request.js';
import type { InferenceContext, Model } from './backend.js';
import type { OpenaiServer } from './openai-server.js';

/** Maximum bytes of an answer: JSON takes up to 25 bytes a number, and vectors have up to 16,384. */
const MAX_BYTES_PER_TEXT = 512 * 1024;
const MAX_BYTES = 256 * 1024 * 1024;

/** Turns texts into vectors with an embedding model of the server, over `/embeddings`. */
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
  const vectors = server.read(() => parseVectors(data, texts.length));
  return new HandlerResponse({ embedding: vectors }, readEndParameters(undefined, usage));
}

/**
 * Reads an answer's vectors, in the order of the texts. Throws `internal` for anything but one vector per text, all of
 * one length, of numbers that FP32 holds: a vector made up in place of a broken one would be found by nobody.
 */
export function parseVectors(data: UntrustedJson, count: number) {
  if (!Array.isArray(data)) throw broken(`its answer has no vector for each of ${count} texts`);
  if (data.length !== count)
    throw broken(`its answer has ${data.length} vectors, no vector for each of ${count} texts`);
  const ordered = inOrder(data);
  const length = vectorLength(ordered);
  const vectors = new Float32Array(count * length);
  for (const [at, { embedding }] of ordered.entries()) {
    if (!Array.isArray(embedding)) throw notAVector(at, embedding);
    if (embedding.length !== length) {
      throw broken(`vector ${at} of its answer has ${embedding.length} numbers, vector 0 has ${length}`);
    }
    for (let place = 0; place < length; place++) {
      const value = embedding[place];
      if (Array.isArray(value)) {
        throw broken(
          `its answer has a vector per token for text ${at}; give the engine a pooling that makes one a text`,
        );
      }
      // FP32 would make a number of over 3.4e38 infinite.
      if (typeof value !== 'number' || !Number.isFinite(Math.fround(value))) {
        throw broken(`vector ${at} of its answer has ${shown(value)} at ${place}, which is not a number of FP32`);
      }
      vectors[at * length + place] = value;
    }
  }
  return { datatype: 'FP32', shape: [count, length], data: vectors } as const;
}

function vectorLength([first]: readonly UntrustedJson[]): number {
  if (!Array.isArray(first?.embedding)) throw notAVector(0, first?.embedding);
  if (first.embedding.length === 0) throw broken('vector 0 of its answer is empty');
  return first.embedding.length;
}

/** Returns the vectors by their index, or as they come where none has one. Throws `internal` for other indices. */
function inOrder(data: readonly UntrustedJson[]): readonly UntrustedJson[] {
  if (data.every((item) => item?.index === undefined || item.index === null)) return data;
  const ordered: UntrustedJson[] = [];
  for (const item of data) {
    const index: unknown = item?.index;
    const isOfAText = Number.isInteger(index) && (index as number) >= 0 && (index as number) < data.length;
    if (!isOfAText || ordered[index as number] !== undefined) {
      throw broken(`its answer has an index ${shown(index)} that no text has, or two vectors with it`);
    }
    ordered[index as number] = item;
  }
  return ordered;
}

function notAVector(at: number, given: unknown): AnyserveError {
  if (typeof given === 'string')
    return broken(`vector ${at} of its answer is a base64 text, and floats were asked for`);
  return broken(`vector ${at} of its answer is ${shown(given)}, not a list of numbers`);
}

function shown(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'missing');
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function broken(problem: string): AnyserveError {
  return new AnyserveError('internal', problem);
}
