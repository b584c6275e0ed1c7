import { parseTarget, type RequestTarget, toOriginForm } from '../http/request-head.js';
import { type CallPath, findPathProblem } from './call-paths.js';

/** The parts of the target of a request. */
export interface FrontTarget extends RequestTarget {
  /** Undefined for a path that is not forwarded. */
  readonly callPath: CallPath | undefined;
  /** Why the path is refused. */
  readonly problem: string | undefined;
}

/** Path of the list of models. The path of an entry has its name after a slash. */
export const MODELS_PATH = '/v1/models';

/** Reads the target of a request. That of most requests is a path of calls as it is, which needs no check. */
export function readFrontTarget(target: string, paths: ReadonlyMap<string, CallPath>): FrontTarget {
  const known = paths.get(target);
  if (known) return { path: target, search: '', callPath: known, problem: undefined };
  const { path, search } = parseTarget(toOriginForm(target));
  // The name of a model can have slashes, which OpenAI's clients encode. This path is not sent to an engine.
  const problem = isModelsPath(path) ? undefined : findPathProblem(path);
  return { path, search, callPath: paths.get(path), problem };
}

/** Returns whether a path is that of the list of models, or of one entry. */
export function isModelsPath(path: string): boolean {
  return path === MODELS_PATH || path.startsWith(`${MODELS_PATH}/`);
}
