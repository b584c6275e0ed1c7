import type { UntrustedJson } from '../../inference/openai-errors.js';
import { detectModelType, type ListedModel } from './openai-models.js';

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
  /** Types of models by name. */
  readonly types: ReadonlyMap<string, string>;
  /** Type of all models. */
  readonly commonType: string | undefined;
  /** The only model of an engine without a list. */
  readonly onlyModel: string | undefined;
}

/** Queries an engine for the types of the models whose list entry has none, and whether it is TGI. */
export async function queryEngineFacts(
  engine: KnownEngine | undefined,
  untyped: readonly string[],
  queries: EngineQueries,
): Promise<EngineFacts> {
  const facts = { engine, types: new Map<string, string>(), commonType: undefined, onlyModel: undefined };
  if (engine === 'SGLang') {
    return { ...facts, commonType: detectModelType(await queries.get('root', '/get_model_info')) };
  }
  if (engine === 'vLLM') return { ...facts, commonType: getTypeFromPaths(await queries.get('root', '/openapi.json')) };
  if (engine === 'llama.cpp') return facts;
  const [litellm, lmStudio, ollama, info] = await Promise.all([
    queries.get('base', '/model/info'),
    queries.get('root', '/api/v0/models'),
    queries.get('root', '/api/tags'),
    queries.get('root', '/info'),
  ]);
  for (const entry of listEntries(litellm?.data)) addType(facts.types, entry.model_name, detectModelType(entry));
  for (const entry of listEntries(lmStudio?.data)) addType(facts.types, entry.id, detectModelType(entry));
  if (Array.isArray(ollama?.models)) await queryOllama(facts.types, untyped, queries);
  return { ...facts, ...parseInfo(info) };
}

/** Queries the model of an engine without a list again, because it can change. */
export async function queryOnlyModel(queries: EngineQueries): Promise<Partial<EngineFacts>> {
  return parseInfo(await queries.get('root', '/info'));
}

/** Parses the `/info` of TGI, or of TEI, which has no list of models. Returns nothing for another server's. */
function parseInfo(info: UntrustedJson): Partial<EngineFacts> {
  const isTgi = String(info?.router ?? '').startsWith('text-generation') || info?.max_total_tokens !== undefined;
  if (isTgi) return { engine: 'TGI', commonType: 'chat' };
  const isTei = typeof info?.model_type === 'object' && typeof info.model_id === 'string';
  return isTei ? { commonType: detectModelType(info), onlyModel: info.model_id } : {};
}

/** Queries Ollama for the type of each model, which its list doesn't contain. Ollama loads no model for this. */
async function queryOllama(
  types: Map<string, string>,
  names: readonly string[],
  queries: EngineQueries,
): Promise<void> {
  const queried = names.slice(0, 256);
  for (let from = 0; from < queried.length; from += 16) {
    await Promise.all(
      queried.slice(from, from + 16).map(async (name) => {
        const details = await queries.post('root', '/api/show', JSON.stringify({ model: name }));
        addType(types, name, detectModelType({ capabilities: details?.capabilities }));
      }),
    );
  }
}

/** Returns the model type from vLLM's paths. vLLM serves only those of the type it runs; older versions serve all. */
function getTypeFromPaths(openApi: UntrustedJson): string | undefined {
  const paths = openApi?.paths;
  if (typeof paths !== 'object' || paths === null) return undefined;
  return '/v1/embeddings' in paths && !('/v1/chat/completions' in paths) ? 'embed' : undefined;
}

function addType(types: Map<string, string>, name: unknown, type: string | undefined): void {
  if (typeof name === 'string' && type !== undefined) types.set(name, type);
}

function listEntries(list: UntrustedJson): readonly UntrustedJson[] {
  return Array.isArray(list) ? list.slice(0, 4096).filter((entry) => typeof entry === 'object' && entry !== null) : [];
}
