import type { UntrustedJson } from '../../inference/openai-errors.js';

/** Maximum number of models in a list: the maximum number of capabilities in a registration. */
const MAX_MODELS = 4096;

/** Maximum length of a model's name, in characters. */
const MAX_NAME_LENGTH = 1024;

/** A model in a server's list. */
export interface ListedModel {
  readonly name: string;
  /** Type, if the entry contains it: `chat`, `embed`, or another word, such as `rerank`. */
  readonly type: string | undefined;
  /** The entry's `owned_by`. */
  readonly ownedBy: string | undefined;
}

/**
 * Parses a list of models: OpenAI's `{"data":[...]}`, a bare array (Together, GitHub), or `{"models":[...]}`. Skips entries
 * without a usable name. Returns undefined for anything but a list. Throws for a list that is too long.
 */
export function parseModelList(json: UntrustedJson): readonly ListedModel[] | undefined {
  const { data, models: named, object } = json;
  // Some gateways wrap the list a second time.
  const list = [json, data, named, data?.data, data?.models, named?.data].find((found) => Array.isArray(found));
  // The response of Ollama without models.
  if (!list && object === 'list' && data === null) return [];
  if (!list) return undefined;
  if (list.length > MAX_MODELS) throw new Error(`its list has ${list.length} models, more than ${MAX_MODELS}`);
  const models = new Map<string, ListedModel>();
  for (const entry of list) {
    const name = typeof entry === 'string' ? entry : (entry?.id ?? entry?.name ?? entry?.model);
    if (typeof name !== 'string' || name === '' || name.length > MAX_NAME_LENGTH || !name.isWellFormed()) continue;
    const ownedBy = typeof entry?.owned_by === 'string' ? entry.owned_by : undefined;
    models.set(name, { name, type: detectModelType(entry), ownedBy });
  }
  return [...models.values()];
}

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
