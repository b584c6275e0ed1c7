import type { UntrustedJson } from '../../inference/openai-errors.js';
import { type ModelFacts, readModelFacts } from './model-facts.js';
import type { ListedModel } from './openai-models.js';

/** An engine with a cheap `/health` that fails while the engine can't be called. */
export type KnownEngine = 'vLLM' | 'SGLang' | 'llama.cpp' | 'TGI';

const OWNERS: ReadonlyMap<string | undefined, KnownEngine> = new Map([
  ['vllm', 'vLLM'],
  ['sglang', 'SGLang'],
  ['llamacpp', 'llama.cpp'],
]);

/** Fetches JSON documents from the root or the base URL, or undefined if there is none. Never generates tokens. */
export interface EngineQueries {
  get(base: 'base' | 'root', path: string): Promise<UntrustedJson>;
  post(base: 'root', path: string, body: string): Promise<UntrustedJson>;
}

/**
 * Identifies an engine by its list of models: all entries must belong to it. A proxy that lists the models of several
 * engines is not identified, because its `/health` can cost tokens (LiteLLM's requests a completion from every model).
 */
export function detectEngine(
  models: readonly ListedModel[],
  headers: Readonly<Record<string, unknown>>,
): KnownEngine | undefined {
  if (Object.keys(headers).some((name) => name.startsWith('x-litellm'))) return undefined;
  if (/^llama\.cpp/i.test(String(headers['server'] ?? ''))) return 'llama.cpp';
  const owners = new Set(models.map(({ ownedBy }) => ownedBy));
  return owners.size === 1 ? OWNERS.get([...owners][0]) : undefined;
}

/** Information from an engine's own endpoints. */
export interface EngineFacts {
  readonly engine: KnownEngine | undefined;
  /** Facts of models by name. */
  readonly models: ReadonlyMap<string, ModelFacts>;
  /** Facts of all models. */
  readonly common: ModelFacts;
  /** The only model of an engine without a list. */
  readonly onlyModel: string | undefined;
}

/** Queries an engine for facts of these models that their list entries don't contain, and whether it is TGI. */
export async function queryEngineFacts(
  engine: KnownEngine | undefined,
  names: readonly string[],
  queries: EngineQueries,
): Promise<EngineFacts> {
  const models = new Map<string, ModelFacts>();
  const facts = { engine, models, common: {}, onlyModel: undefined };
  switch (engine) {
    case 'SGLang':
      return { ...facts, common: readModelFacts(await queries.get('root', '/get_model_info')) };
    case 'vLLM':
      return { ...facts, common: readVllmPaths(await queries.get('root', '/openapi.json')) };
    case 'llama.cpp':
      // A router has no properties of its own.
      return names.length === 1 ? { ...facts, common: readModelFacts(await queries.get('root', '/props')) } : facts;
    case 'TGI':
    case undefined:
      break;
    default:
      engine satisfies never;
  }
  const [litellm, lmStudio, ollama, info] = await Promise.all([
    queries.get('base', '/model/info'),
    queries.get('root', '/api/v0/models'),
    queries.get('root', '/api/tags'),
    queries.get('root', '/info'),
  ]);
  for (const entry of listEntries(litellm?.data)) addFacts(models, entry.model_name, entry);
  for (const entry of listEntries(lmStudio?.data)) addFacts(models, entry.id, entry);
  if (Array.isArray(ollama?.models)) await queryOllama(models, names, queries);
  return { ...facts, ...parseInfo(info) };
}

/** Queries the model of an engine without a list again, because it can change. */
export async function queryOnlyModel(queries: EngineQueries): Promise<Partial<EngineFacts>> {
  return parseInfo(await queries.get('root', '/info'));
}

/** Parses the `/info` of TGI, or of TEI, which has no list of models. Returns nothing for another server's. */
function parseInfo(info: UntrustedJson): Partial<EngineFacts> {
  const isTgi = String(info?.router ?? '').startsWith('text-generation') || info?.max_total_tokens !== undefined;
  if (isTgi) return { engine: 'TGI', common: { ...readModelFacts(info), type: 'chat' } };
  const isTei = typeof info?.model_type === 'object' && typeof info.model_id === 'string';
  return isTei ? { common: readModelFacts(info), onlyModel: info.model_id } : {};
}

/** Queries Ollama for the facts of each model, which its list doesn't contain. Ollama loads no model for this. */
async function queryOllama(
  models: Map<string, ModelFacts>,
  names: readonly string[],
  queries: EngineQueries,
): Promise<void> {
  const queried = names.slice(0, 256);
  for (let from = 0; from < queried.length; from += 16) {
    await Promise.all(
      queried.slice(from, from + 16).map(async (name) => {
        const details = await queries.post('root', '/api/show', JSON.stringify({ model: name }));
        addFacts(models, name, { capabilities: details?.capabilities });
      }),
    );
  }
}

/** Reads the type from vLLM's paths. vLLM serves only those of the type it runs; older versions serve all. */
function readVllmPaths(openApi: UntrustedJson): ModelFacts {
  const paths = openApi?.paths;
  if (typeof paths !== 'object' || paths === null) return {};
  return '/v1/embeddings' in paths && !('/v1/chat/completions' in paths) ? { type: 'embed' } : {};
}

function addFacts(models: Map<string, ModelFacts>, name: unknown, details: UntrustedJson): void {
  if (typeof name === 'string') models.set(name, { ...models.get(name), ...readModelFacts(details) });
}

function listEntries(list: UntrustedJson): readonly UntrustedJson[] {
  return Array.isArray(list) ? list.slice(0, 4096).filter((entry) => typeof entry === 'object' && entry !== null) : [];
}
