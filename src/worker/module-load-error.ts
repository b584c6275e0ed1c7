import { extname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AnyserveError, getErrorMessage } from '../core/errors.js';

/** Node's messages for a file that has ES module syntax but is loaded as CommonJS. */
const ES_SYNTAX_IN_COMMONJS =
  /^(?:Cannot use import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta' outside a module)/;

/** Node's message for a file that uses CommonJS variables but is loaded as an ES module. */
const COMMONJS_VARIABLE = /^(module|exports|require|__filename|__dirname) is not defined in ES module scope/;

/** Node's error codes for files that are not modules, such as JSON. */
const NOT_A_MODULE_CODES: ReadonlySet<string> = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_IMPORT_ASSERTION_TYPE_MISSING',
  'ERR_IMPORT_ATTRIBUTE_MISSING',
]);

const MISSING_PACKAGE = /^Cannot find (?:package|module) '([^'./][^']*)'/;

/** Converts the error of a user's module to a one-line message with the problem and what to do. */
export function toModuleError(path: string, cause: unknown): AnyserveError {
  return new AnyserveError('usage', `cannot load ${path}: ${describeProblem(path, cause)}`, { cause });
}

function describeProblem(path: string, cause: unknown): string {
  const { code } = (cause ?? {}) as { code?: unknown };
  // The remaining lines of this message list the modules that require it.
  const message =
    code === 'MODULE_NOT_FOUND' ? ((cause as Error).message.split('\n', 1)[0] ?? '') : getErrorMessage(cause);
  const file = parseSyntaxErrorLocation(cause);
  if (cause instanceof SyntaxError && ES_SYNTAX_IN_COMMONJS.test(message))
    return describeEsSyntaxProblem(path, file?.path ?? path);
  if (code === 'ERR_REQUIRE_CYCLE_MODULE' && extname(path) === '') return describeEsSyntaxProblem(path, path);
  if (typeof code === 'string' && NOT_A_MODULE_CODES.has(code)) {
    return `"${extname(path)}" is not a file extension of modules; specify a .js, .mjs, .cjs, .ts or .mts file`;
  }
  const name = COMMONJS_VARIABLE.exec(message)?.[1];
  if (name !== undefined) {
    return `it uses "${name}", which ES modules don't have; use import and "export default", or rename the file to .cjs`;
  }
  const missing = MISSING_PACKAGE.exec(message)?.[1];
  if (missing !== undefined && !missing.startsWith('node:')) {
    return `package ${JSON.stringify(missing)} not found; install it next to the module: npm install ${getPackageName(missing)}`;
  }
  if (cause instanceof SyntaxError && file) return `${message} (${formatPath(file.path)}:${file.line})`;
  return formatThrownError(path, cause, message);
}

/** Returns the message of an error that a module has thrown, with the module's line from the stack. */
export function formatThrownError(path: string, cause: unknown, message = getErrorMessage(cause)): string {
  const stack = cause instanceof Error ? (cause.stack ?? '') : '';
  for (const [, location = '', line] of stack.matchAll(/^ {4}at .*?(file:\/\/[^\s)]+?|\/[^)\n]+?):(\d+):\d+\)?$/gm)) {
    if (isSamePath(path, toPath(location))) return `${message} (${formatPath(path)}:${line})`;
  }
  return message;
}

/** Describes how to fix ES module syntax in a file loaded as CommonJS: the module itself, or one that it imports. */
function describeEsSyntaxProblem(path: string, file: string): string {
  const extension = extname(file);
  const isTypeScript = /^\.[cm]?ts$/.test(extension);
  const subject = isSamePath(path, file) ? 'it' : formatPath(file);
  const rename = `rename the file to ${isTypeScript ? '.mts' : '.mjs'}`;
  const advice =
    extension === '.js' || extension === '.ts' ? `${rename}, or set "type": "module" in its package.json` : rename;
  return `${subject} uses "import" or "export" but is loaded as CommonJS; ${advice}`;
}

/** Returns the file and line that Node prints before the stack of a syntax error. */
function parseSyntaxErrorLocation(cause: unknown): { path: string; line: string } | undefined {
  const [head = ''] = cause instanceof Error ? (cause.stack ?? '').split('\n', 1) : [];
  const [, location, line] = /^(file:\/\/\S+|\/[^\n]*):(\d+)$/.exec(head) ?? [];
  if (location === undefined || line === undefined) return undefined;
  return { path: toPath(location), line };
}

/** Returns the path of a location in a stack, which is a URL for ES modules. */
function toPath(location: string): string {
  return location.startsWith('file:') ? fileURLToPath(location) : location;
}

/** Returns a path relative to the current directory, or unchanged if it is outside. */
function formatPath(path: string): string {
  const relativePath = relative('', path);
  return relativePath.startsWith('..') ? path : relativePath;
}

function isSamePath(a: string, b: string): boolean {
  return relative(a, b) === '';
}

/** Returns the package name of a specifier such as `lodash/fp` or `@scope/name/part`. */
function getPackageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}
