import type { LlamaModel, Token } from 'node-llama-cpp';
import { createModelPairs, listEngineCapabilities } from '../client/engine/engine-capabilities.js';
import type { Capability } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { Random } from '../core/ports.js';
import { HandlerResponse } from '../inference/inference-data.js';
import {
  createTextResponse,
  EMBEDDING_INPUTS,
  EMBEDDING_OUTPUTS,
  readEmbeddingTexts,
  TEXT_INPUTS,
  TEXT_OUTPUTS,
} from '../inference/text-contract.js';
import { createAdmission } from './admission.js';
import type { Handler, Model } from './backend.js';
import { createBlockBatching } from './llama-batches.js';
import type { LlamaCpp } from './llama-cpp.js';
import { tokenizePrompt } from './llama-prompt.js';
import { LlamaResponseFormats } from './llama-response-format.js';
import { SequencePool } from './llama-sequence-pool.js';
import { generateLlamaText } from './llama-text.js';
import { checkParameterNames, parseSampling } from './sampling.js';

/** A loaded model and its settings. */
export interface LoadedLlamaModel {
  readonly model: LlamaModel;
  readonly name: string;
  readonly threads: number;
  /** Context size in tokens. Default: the model's own limit, up to 4,096. */
  readonly contextSize: number | undefined;
  /** Capabilities to register in addition to the model's type and name. */
  readonly capabilities: readonly Capability[];
}

/** Maximum default context size, in tokens. Memory use grows with the context size. */
const MAX_DEFAULT_CONTEXT = 4096;

/**
 * Creates a model that generates text. Several texts are generated at once, each in a separate sequence, which caches its
 * prompt for the next turn of a conversation. Further calls wait for a free sequence.
 */
export async function createLlamaTextModel(
  llamaCpp: LlamaCpp,
  loaded: LoadedLlamaModel,
  { sequences, random }: { readonly sequences: number; readonly random: Random },
): Promise<Model> {
  const { model, threads, contextSize } = loaded;
  const hasTemplate = Boolean(model.fileInfo.metadata.tokenizer?.chat_template?.trim());
  const template = hasTemplate ? llamaCpp.resolveChatWrapper(model, { warningLogs: false }) : undefined;
  const size = contextSize ?? { max: MAX_DEFAULT_CONTEXT };
  const context = await model.createContext({ sequences, contextSize: size, threads, batching: createBlockBatching() });
  const formats = new LlamaResponseFormats(llamaCpp, model);
  const pool = new SequencePool(context, sequences);
  const admission = createAdmission({ maxConcurrency: sequences, maxQueue: Number.POSITIVE_INFINITY });

  const handle: Handler = async function* (inputs, { parameters, streaming, signal }) {
    const requested = parseSampling(parameters);
    const sampling = { ...requested, seed: requested.seed ?? Math.floor(random.fraction() * 2 ** 32) };
    const prompt = tokenizePrompt(model, template, inputs);
    checkLength(`input "${inputs['prompt'] ? 'prompt' : 'messages'}"`, prompt, context.contextSize);
    const grammar = await formats.start(parameters);
    const release = await admission.acquire(signal);
    const cached = pool.take(prompt);
    try {
      yield* createTextResponse(
        generateLlamaText({ cached, prompt, sampling, grammar, trimStart: hasTemplate, signal }),
        streaming,
      );
    } finally {
      pool.release(cached);
      release();
    }
  };

  return createModel(loaded, 'chat', { inputs: TEXT_INPUTS, outputs: TEXT_OUTPUTS, handle });
}

/** Creates a model that computes embeddings of length 1, one at a time. */
export async function createLlamaEmbeddingModel(loaded: LoadedLlamaModel): Promise<Model> {
  const { model, threads, contextSize } = loaded;
  const size = contextSize ?? Math.min(model.trainContextSize, MAX_DEFAULT_CONTEXT);
  // Bidirectional models need the complete text in one batch.
  const context = await model.createEmbeddingContext({ contextSize: size, batchSize: size, threads });
  const length = model.embeddingVectorSize;
  const admission = createAdmission({ maxConcurrency: 1, maxQueue: Number.POSITIVE_INFINITY });

  const handle: Handler = async (inputs, { parameters, signal }) => {
    checkParameterNames(parameters, []);
    const texts = readEmbeddingTexts(inputs).map((text, index) => {
      const tokens = model.tokenize(text);
      const label = `input "input", text ${index}`;
      if (tokens.length === 0) throw new AnyserveError('invalid_argument', `${label}: it has no tokens`);
      checkLength(label, tokens, size);
      return tokens;
    });
    const embedding = new Float32Array(texts.length * length);
    const release = await admission.acquire(signal);
    try {
      for (const [index, tokens] of texts.entries()) {
        signal.throwIfAborted();
        const { vector } = await context.getEmbeddingFor(tokens);
        embedding.set(normalize(vector), index * length);
      }
    } finally {
      release();
    }
    const count = texts.reduce((total, tokens) => total + context.calculateInputLength(tokens), 0);
    const outputs = { embedding: { datatype: 'FP32', shape: [texts.length, length], data: embedding } as const };
    return new HandlerResponse(outputs, { prompt_tokens: count, total_tokens: count });
  };

  return createModel(loaded, 'embed', {
    inputs: EMBEDDING_INPUTS,
    outputs: EMBEDDING_OUTPUTS.map((spec) => ({ ...spec, shape: [-1, length] })),
    handle,
  });
}

function createModel(
  { name, capabilities }: LoadedLlamaModel,
  type: string,
  behaviour: Pick<Model, 'inputs' | 'outputs' | 'handle'>,
): Model {
  const offered = listEngineCapabilities(createModelPairs(name, { type }), capabilities, [name]);
  const ignoresTensorParameters = true;
  return { name, versions: [], platform: 'llama.cpp', capabilities: offered, ignoresTensorParameters, ...behaviour };
}

/** Throws `invalid_argument` unless the context has room for at least one more token. */
function checkLength(label: string, tokens: readonly Token[], contextSize: number): void {
  if (tokens.length < contextSize) return;
  const problem = `it has ${tokens.length} tokens, but the maximum is ${contextSize - 1}`;
  throw new AnyserveError(
    'invalid_argument',
    `${label}: ${problem}; shorten it, or start the worker with a larger --context`,
  );
}

function normalize(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector);
  return length === 0 ? [...vector] : vector.map((number) => number / length);
}
