import type { UntrustedJson } from '../../inference/openai-errors.js';
import { detectModelType } from './model-type.js';

/** Properties of a model, as its engine reports them. Unknown ones are absent. */
export interface ModelFacts {
  /** `chat`, `embed`, or another word, such as `rerank`. */
  readonly type?: string;
  /** Maximum number of tokens of a call: prompt and response together. */
  readonly contextLength?: number;
  /** The model can call tools. */
  readonly tools?: true;
  /** The model accepts images. */
  readonly vision?: true;
}

/** Reads the facts in an entry of a list of models, or in a document about one model. */
export function readModelFacts(entry: UntrustedJson): ModelFacts {
  if (typeof entry !== 'object' || entry === null) return {};
  const type = detectModelType(entry);
  const contextLength = findContextLength(entry);
  return {
    ...(type !== undefined && { type }),
    ...(contextLength !== undefined && { contextLength }),
    ...(canCallTools(entry) && { tools: true }),
    ...(acceptsImages(entry) && { vision: true }),
  };
}

/**
 * Returns the context length from the fields of vLLM and SGLang, llama.cpp (per sequence), LM Studio, OpenRouter and
 * Together, Groq, LiteLLM, TGI, TEI and Mistral. The maximum of a model doesn't count if the engine can run it with less, as
 * LM Studio and Ollama do.
 */
function findContextLength(entry: UntrustedJson): number | undefined {
  const lengths = [
    entry.max_model_len,
    entry.meta?.n_ctx,
    entry.loaded_context_length,
    entry.context_length,
    entry.context_window,
    entry.model_info?.max_input_tokens,
    entry.max_total_tokens,
    entry.max_input_length,
    entry.state === undefined ? entry.max_context_length : undefined,
  ];
  return lengths.find((length) => Number.isSafeInteger(length) && length > 0);
}

/** Reads whether a model can call tools: Ollama, LM Studio, Mistral, OpenRouter, LiteLLM, and the chat template of llama.cpp. */
function canCallTools({ capabilities, supported_parameters, model_info, chat_template_caps }: UntrustedJson): boolean {
  return (
    includesAny(capabilities, ['tools', 'tool_use', 'function_calling']) ||
    includesAny(supported_parameters, ['tools']) ||
    model_info?.supports_function_calling === true ||
    (chat_template_caps?.supports_tools === true && chat_template_caps.supports_tool_calls === true)
  );
}

/** Reads whether a model accepts images: Ollama, Mistral, OpenRouter, llama.cpp, LM Studio, LiteLLM, SGLang. */
function acceptsImages(entry: UntrustedJson): boolean {
  return (
    includesAny(entry.capabilities, ['vision']) ||
    includesAny(entry.architecture?.input_modalities, ['image']) ||
    includesAny(entry.input_modalities, ['image']) ||
    includesAny(entry.modalities, ['vision']) ||
    entry.type === 'vlm' ||
    entry.model_info?.supports_vision === true ||
    entry.has_image_understanding === true
  );
}

/** Returns whether a list has one of the words, or an object has one of them with the value true. */
function includesAny(list: UntrustedJson, words: readonly string[]): boolean {
  if (Array.isArray(list)) return words.some((word) => list.includes(word));
  return typeof list === 'object' && list !== null && words.some((word) => list[word] === true);
}
