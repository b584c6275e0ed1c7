import { AnyserveError } from './errors.js';
import { quote } from './quoting.js';

const SCALAR_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'boolean']);

/** The types of options that aren't numbers: what each accepts, in words, and the check. */
const TYPES = {
  string: ['a string', (value) => typeof value === 'string'],
  strings: ['a list of strings', isListOfStrings],
  'string or strings': [
    'a string or a list of strings',
    (value) => typeof value === 'string' || isListOfStrings(value),
  ],
  'strings or all': ['a list of strings, or "all"', (value) => value === 'all' || isListOfStrings(value)],
  flag: ['true or false', (value) => typeof value === 'boolean'],
  function: ['a function', (value) => typeof value === 'function'],
  object: ['an object', isObject],
  scalars: [
    'an object whose values are strings, numbers or booleans',
    (value) => isObject(value) && Object.values(value as object).every((item) => SCALAR_TYPES.has(typeof item)),
  ],
  objects: ['a list of objects', (value) => Array.isArray(value) && value.every(isObject)],
  'names or objects': [
    'a list of names or objects',
    (value) => Array.isArray(value) && value.every((item) => typeof item === 'string' || isObject(item)),
  ],
  signal: ['an AbortSignal', (value) => hasFunctions(value, 'addEventListener', 'removeEventListener')],
  log: ['an object with the functions info and warn', (value) => hasFunctions(value, 'info', 'warn')],
  store: ['a store of registrations', (value) => hasFunctions(value, 'start', 'put', 'change', 'delete', 'subscribe')],
  secret: [
    'a string or a function that returns it',
    (value) => typeof value === 'string' || typeof value === 'function',
  ],
  tokens: [
    'a TokenSet or a function that returns it',
    (value) => typeof value === 'function' || hasFunctions(value, 'findPrefixes'),
  ],
  tls: ['an object or a function that returns it', (value) => typeof value === 'function' || isObject(value)],
} as const satisfies Record<string, readonly [wanted: string, accepts: (value: unknown) => boolean]>;

/** Options whose values can be secret. An error shows only their type. */
const SECRET_TYPES: ReadonlySet<string> = new Set(['secret', 'tokens', 'tls']);

/** The type of each option that isn't a number. */
export type OptionTypes<Options> = { readonly [Name in keyof Options]?: keyof typeof TYPES };

/**
 * Checks the options of a program without TypeScript, or with `any`. Throws `usage` with the option's name unless each given
 * option has its type, and each required one is given.
 */
export function checkOptionTypes<Options>(
  options: Options,
  types: OptionTypes<Options>,
  required: readonly (keyof Options & string)[] = [],
): void {
  if (!isObject(options)) throw createTypeError('options', options, 'an object');
  for (const [name, type] of Object.entries(types) as [keyof Options & string, keyof typeof TYPES][]) {
    const value: unknown = options[name];
    if (value === undefined && !required.includes(name)) continue;
    const [wanted, accepts] = TYPES[type];
    if (!accepts(value)) throw createTypeError(`option ${name}`, value, wanted, SECRET_TYPES.has(type));
  }
}

function createTypeError(subject: string, value: unknown, wanted: string, isSecret = false): AnyserveError {
  const shown = isSecret && value !== undefined ? nameType(value) : formatOptionValue(value);
  return new AnyserveError('usage', `${subject}: ${shown} is not ${wanted}`);
}

/** Formats the value of an option for an error, in one line. */
export function formatOptionValue(value: unknown): string {
  if (typeof value === 'string') return quote(value);
  const isComposite = typeof value === 'function' || (typeof value === 'object' && value !== null);
  return isComposite ? nameType(value) : String(value);
}

function nameType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOfStrings(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function hasFunctions(value: unknown, ...names: readonly string[]): boolean {
  if (!isObject(value)) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
