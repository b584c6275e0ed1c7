import { AnyserveError } from './errors.js';
import { checkOptionNames } from './option-names.js';
import { quote } from './quoting.js';
import type { ClientTls, ServerTls } from './tls.js';

const SCALAR_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'boolean']);

/** The types of options: what each accepts, in words, and the check. */
const TYPES = {
  // `checkTimes` and `checkCounts` check numbers: their errors name the range.
  number: ['a number', () => true],
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
    (value) => isObject(value) && Object.values(value).every((item) => SCALAR_TYPES.has(typeof item)),
  ],
  objects: ['a list of objects', (value) => Array.isArray(value) && value.every(isObject)],
  'names or objects': [
    'a list of names or objects',
    (value) => Array.isArray(value) && value.every((item) => typeof item === 'string' || isObject(item)),
  ],
  signal: ['an AbortSignal', (value) => hasFunctions(value, 'addEventListener', 'removeEventListener')],
  log: ['an object with the functions info and warn', (value) => hasFunctions(value, 'info', 'warn')],
  tracer: ['an object with the function startAttempt', (value) => hasFunctions(value, 'startAttempt')],
  store: [
    'a store of registrations, or the address of one',
    (value) => typeof value === 'string' || hasFunctions(value, 'start', 'put', 'change', 'delete', 'subscribe'),
  ],
  login: [
    'an object with the strings user and password, or a function that returns it',
    (value) => typeof value === 'function' || hasStrings(value, 'user', 'password'),
  ],
  secret: [
    'a string or a function that returns it',
    (value) => typeof value === 'string' || typeof value === 'function',
  ],
  secrets: [
    'an object whose values are strings or functions',
    (value) =>
      isObject(value) && Object.values(value).every((item) => typeof item === 'string' || typeof item === 'function'),
  ],
  tokens: [
    'a TokenSet or a function that returns it',
    (value) => typeof value === 'function' || hasFunctions(value, 'findGrant'),
  ],
  tls: ['an object or a function that returns it', (value) => typeof value === 'function' || isObject(value)],
} as const satisfies Record<string, readonly [wanted: string, accepts: (value: unknown) => boolean]>;

/** Options whose values can be secret. An error shows only their type. */
const SECRET_TYPES: ReadonlySet<string> = new Set(['secret', 'secrets', 'tokens', 'tls', 'login']);

/** Names within an option of the type `tls`. */
const TLS_NAMES: { readonly [Name in keyof ServerTls | keyof ClientTls]: true } = { ca: true, cert: true, key: true };

/** The type of every option of a function. */
export type OptionTypes<Options> = { readonly [Name in keyof Options]-?: keyof typeof TYPES };

/**
 * Checks the options of a program without TypeScript, or with `any`. Throws `usage` with the option's name unless all options
 * are known, each has its type, and each required one is given. `owner`: the function that has the options.
 */
export function checkOptionTypes<Options>(
  owner: string,
  options: Options,
  types: OptionTypes<Options>,
  required: readonly (keyof Options & string)[] = [],
): void {
  if (!isObject(options)) throw createTypeError('options', options, 'an object');
  checkOptionNames(owner, options, types);
  // Not only the options' own keys: an instance of a class can have accessors.
  for (const name of Object.keys(types) as (keyof Options & string)[]) {
    const value: unknown = options[name];
    if (value === undefined && !required.includes(name)) continue;
    const type = types[name];
    const [wanted, accepts] = TYPES[type];
    if (!accepts(value)) throw createTypeError(`option ${name}`, value, wanted, SECRET_TYPES.has(type));
    if (type === 'tls' && isObject(value)) checkOptionNames(owner, value, TLS_NAMES, name);
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

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOfStrings(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function hasStrings(value: unknown, ...names: readonly string[]): boolean {
  return isObject(value) && names.every((name) => typeof (value as Record<string, unknown>)[name] === 'string');
}

function hasFunctions(value: unknown, ...names: readonly string[]): boolean {
  if (!isObject(value)) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
