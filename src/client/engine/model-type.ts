import type { UntrustedJson } from '../../inference/openai-errors.js';

/** The types of models, each with the words that engines use for it. */
const TYPE_PATTERNS: readonly (readonly [type: string, words: RegExp])[] = [
  ['embed', /^(text-|sentence-)?embed(ding|dings|der)?$|^feature-extraction$|^sentence-similarity$/],
  ['rerank', /^re-?rank(er|ing)?$|^score$|^text-ranking$/],
  ['audio', /^audio|^transcri|^speech|^(tts|stt|asr)$|^automatic-speech|^text-to-(speech|audio)$/],
  ['image', /^images?(-generation|-edit)?$|^text-to-image$|^diffusers?$/],
  ['video', /^video|^text-to-video$/],
  ['moderation', /^moderations?$|^classif|^text-classification$|^reward$/],
  [
    'chat',
    /^(chat|complet|generat|language|llm$|vlm$|code|text$|text-generation|text2text|image-text-to-text|convers)/,
  ],
];

/** The words that this file returns for types. */
export const MODEL_TYPES: readonly string[] = TYPE_PATTERNS.map(([type]) => type);

/** Returns the model type for an engine's word, or undefined for an unrelated word. */
function parseType(word: unknown): string | undefined {
  if (typeof word !== 'string' || word.length > 100) return undefined;
  // Only the last segment of an endpoint such as /v1/chat/completions counts.
  const plain = word.toLowerCase().replace(/^.*\//, '').replace(/[_ ]/g, '-');
  return TYPE_PATTERNS.find(([, words]) => words.test(plain))?.[0];
}

/** Returns the model type for several words: `chat` if any of them means it, else the first known type. */
function parseTypes(words: UntrustedJson): string | undefined {
  const list = Array.isArray(words)
    ? words.slice(0, 64)
    : Object.keys(words ?? {}).filter((word) => words[word] !== false && words[word] !== null);
  const types = list.map(parseType).filter((type) => type !== undefined);
  return types.includes('chat') ? 'chat' : types[0];
}

/**
 * Returns a model's type from the fields that engines use for it: `mode` (LiteLLM), `type` (Together, LM Studio),
 * `task` (GitHub, vLLM's relatives), `model_type` (Xinference, TEI), `capabilities` (Ollama, Infinity, Mistral),
 * `architecture` (OpenRouter), and the arguments of a model of llama.cpp's router. Undefined if none of them is present.
 */
export function detectModelType(entry: UntrustedJson): string | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { model_info: info, meta, metadata, architecture, status } = entry;
  if (entry.is_embedding === true || entry.is_generation === false) return 'embed';
  if (Array.isArray(status?.args) && status.args.some((arg: UntrustedJson) => /^--embeddings?$/.test(arg)))
    return 'embed';
  for (const object of [entry, info, meta, metadata]) {
    const words = [object?.mode, object?.task, object?.type, object?.model_type, object?.pipeline_tag, object?.kind];
    const type = words.map(parseType).find((found) => found !== undefined);
    if (type !== undefined) return type;
  }
  const lists = [
    typeof entry.model_type === 'object' ? entry.model_type : undefined,
    entry.capabilities,
    entry.tasks,
    entry.supported_tasks,
    entry.supported_endpoints,
    entry.endpoints,
    meta?.capabilities,
    entry.supported_output_modalities,
    entry.output_modalities,
    architecture?.output_modalities,
  ];
  for (const list of lists) {
    const type = typeof list === 'object' && list !== null ? parseTypes(list) : undefined;
    if (type !== undefined) return type;
  }
  return undefined;
}
