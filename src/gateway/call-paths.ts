/** A path of OpenAI's API that is forwarded to a replica of the model in the request. */
export interface CallPath {
  /** Path after the base URL of a replica: `/chat/completions`. */
  readonly path: string;
  /** Whether the replica generates text, which takes longer. */
  readonly isText: boolean;
}

/** Beginning of the paths of OpenAI's API. */
export const API_PREFIX = '/v1';

/**
 * The paths that are forwarded, and whether they generate text. All others are refused: engines have administration under the
 * same prefix, such as `/v1/load_lora_adapter` of vLLM.
 */
const PATHS: readonly (readonly [path: string, isText: boolean])[] = [
  ['/chat/completions', true],
  ['/completions', true],
  ['/responses', true],
  ['/responses/compact', true],
  ['/responses/input_tokens', false],
  ['/embeddings', false],
  ['/rerank', false],
  ['/score', false],
  ['/moderations', false],
  ['/audio/speech', true],
  ['/audio/transcriptions', true],
  ['/audio/translations', true],
  ['/images/generations', true],
  ['/images/edits', true],
  ['/images/variations', true],
];

/** Creates the lookup of the paths that are forwarded, by the whole path: `/v1/chat/completions`. */
export function createCallPaths(allowedPaths: readonly string[]): ReadonlyMap<string, CallPath> {
  const paths = [...PATHS, ...allowedPaths.map((path) => [path, true] as const)];
  return new Map(paths.map(([path, isText]) => [`${API_PREFIX}${path}`, { path, isText }]));
}

/** Paths whose requests refer to something that one engine keeps: a stored response, a file, a batch. */
const STATEFUL_PATH = /^\/v1\/(?:responses\/|files\b|batches\b|assistants\b|threads\b|vector_stores\b|conversations\b)/;

/** Returns whether the requests of a path are about something that only one engine has. */
export function isStatefulPath(path: string): boolean {
  return STATEFUL_PATH.test(path);
}

/**
 * Returns why a path is refused: an engine behind a proxy could read it as another path. Undefined for a plain path.
 * Percent-encoded letters are refused too, because no path of the API needs them.
 */
export function findPathProblem(path: string): string | undefined {
  if (/%2f|%5c|\\/i.test(path)) return 'the path has an encoded slash or a backslash';
  if (/(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(path)) return 'the path has a segment of dots';
  return path.includes('//') ? 'the path has an empty segment' : undefined;
}
