import { closestMatch } from 'leven';
import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';

/** Names that other programs use for these commands. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  serve: ['server', 'start', 'api', 'up'],
  registry: ['list', 'ls', 'ps', 'replicas', 'status'],
  route: ['find', 'get', 'lookup', 'resolve', 'discover'],
  describe: ['metadata', 'inspect', 'show'],
  doctor: ['check', 'diagnose'],
  infer: ['call', 'run', 'predict', 'generate'],
  chat: ['talk'],
  worker: ['serve-model', 'workers'],
};

/** Creates the error for an unknown command, with a suggestion. */
export function createUnknownCommandError(word: string, names: readonly string[]): AnyserveError {
  const synonym = Object.entries(SYNONYMS).find(([, words]) => words.includes(word))?.[0];
  const suggestion = synonym === undefined ? formatSuggestion(word, names, '') : `; did you mean ${synonym}?`;
  return new AnyserveError('usage', `unknown command ${quote(word)}${suggestion}`);
}

/** Maximum length of a compared name. Comparing takes time quadratic in the length. */
const MAX_COMPARED_LENGTH = 64;

/** Returns the end of an error message: the closest known name, else a pointer to the help. */
export function formatSuggestion(name: string, names: readonly string[], dashes: string): string {
  const completed = names.find((known) => known.startsWith(`${name}-`));
  const compared = name.slice(0, MAX_COMPARED_LENGTH);
  const nearest =
    completed ?? closestMatch(compared, names, { maxDistance: Math.min(3, Math.ceil(compared.length / 3)) });
  return nearest === undefined ? '; see anyserve --help' : `; did you mean ${dashes}${nearest}?`;
}
