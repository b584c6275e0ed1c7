import { closestMatch } from 'leven';
import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';

/** What the commands are called in other programs. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  serve: ['server', 'start', 'api', 'up'],
  registry: ['list', 'ls', 'ps', 'replicas', 'models', 'status'],
  route: ['find', 'get', 'lookup', 'resolve', 'discover'],
  infer: ['call', 'run', 'predict', 'generate'],
  chat: ['talk'],
  worker: ['serve-model', 'workers'],
};

/** The failure of a command line whose first word is no command. */
export function createUnknownCommandError(word: string, names: readonly string[]): AnyserveError {
  const other = Object.entries(OTHER_NAMES).find(([, words]) => words.includes(word))?.[0];
  const end = other === undefined ? formatSuggestion(word, names, '') : `; did you mean ${other}?`;
  return new AnyserveError('usage', `there is no command ${quote(word)}${end}`);
}

/** The longest name that is compared: the time that takes grows with its square. */
const MAX_COMPARED = 64;

/** A name that the misspelt one is close to, as the end of a message. */
export function formatSuggestion(name: string, names: readonly string[], dashes: string): string {
  const longer = names.find((known) => known.startsWith(`${name}-`));
  const compared = name.slice(0, MAX_COMPARED);
  const nearest = longer ?? closestMatch(compared, names, { maxDistance: Math.min(3, Math.ceil(compared.length / 3)) });
  return nearest === undefined ? '; see anyserve --help' : `; did you mean ${dashes}${nearest}?`;
}
