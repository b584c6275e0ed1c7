import { extname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AnyserveError, getErrorMessage } from '../core/errors.js';

/** How Node says that a file has the syntax of ES modules and counts as CommonJS. */
const ES_SYNTAX =
  /^(?:Cannot use import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta' outside a module)/;

/** How Node says that a file uses what only CommonJS has and counts as an ES module. */
const COMMONJS_NAME = /^(module|exports|require|__filename|__dirname) is not defined in ES module scope/;

/** The codes of files that are no modules, JSON among them. */
const NO_MODULE: ReadonlySet<string> = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_IMPORT_ASSERTION_TYPE_MISSING',
  'ERR_IMPORT_ATTRIBUTE_MISSING',
]);

const MISSING_PACKAGE = /^Cannot find (?:package|module) '([^'./][^']*)'/;

/** The failure of a user's module that cannot be loaded, in one line that says what to do. */
export function toModuleError(path: string, cause: unknown): AnyserveError {
  return new AnyserveError('usage', `cannot load ${path}: ${problemOf(path, cause)}`, { cause });
}

function problemOf(path: string, cause: unknown): string {
  const { code } = (cause ?? {}) as { code?: unknown };
  // Behind its first line, this one has the modules that require it.
  const message =
    code === 'MODULE_NOT_FOUND' ? ((cause as Error).message.split('\n', 1)[0] ?? '') : getErrorMessage(cause);
  const file = fileOf(cause);
  if (cause instanceof SyntaxError && ES_SYNTAX.test(message)) return esSyntaxProblem(path, file?.path ?? path);
  if (code === 'ERR_REQUIRE_CYCLE_MODULE' && extname(path) === '') return esSyntaxProblem(path, path);
  if (typeof code === 'string' && NO_MODULE.has(code)) {
    return `a module cannot end in "${extname(path)}"; give a .js, .mjs, .cjs, .ts or .mts file`;
  }
  const name = COMMONJS_NAME.exec(message)?.[1];
  if (name !== undefined) {
    return `it uses "${name}", which an ES module does not have; use import and "export default", or end its name in .cjs`;
  }
  const missing = MISSING_PACKAGE.exec(message)?.[1];
  if (missing !== undefined && !missing.startsWith('node:')) {
    return `there is no package ${JSON.stringify(missing)}; install it beside the module: npm install ${packageOf(missing)}`;
  }
  if (cause instanceof SyntaxError && file) return `${message} (${shownPath(file.path)}:${file.line})`;
  return formatThrownError(path, cause, message);
}

/** What a module has thrown, with the line of it that the stack names. */
export function formatThrownError(path: string, cause: unknown, message = getErrorMessage(cause)): string {
  const stack = cause instanceof Error ? (cause.stack ?? '') : '';
  for (const [, location = '', line] of stack.matchAll(/^ {4}at .*?(file:\/\/[^\s)]+?|\/[^)\n]+?):(\d+):\d+\)?$/gm)) {
    if (samePath(path, pathOf(location))) return `${message} (${shownPath(path)}:${line})`;
  }
  return message;
}

/** Says how to fix ES module syntax in a file that counts as CommonJS: the module itself, or one that it imports. */
function esSyntaxProblem(path: string, file: string): string {
  const extension = extname(file);
  const isTypeScript = /^\.[cm]?ts$/.test(extension);
  const name = shownPath(file);
  const which = samePath(path, file) ? 'it' : name;
  const rename = `end its name in ${isTypeScript ? '.mts' : '.mjs'}`;
  const advice =
    extension === '.js' || extension === '.ts' ? `${rename}, or put "type": "module" into its package.json` : rename;
  return `${which} has "import" or "export", and counts as CommonJS; ${advice}`;
}

/** The file and line that Node puts before the stack of a syntax error. */
function fileOf(cause: unknown): { path: string; line: string } | undefined {
  const [head = ''] = cause instanceof Error ? (cause.stack ?? '').split('\n', 1) : [];
  const [, location, line] = /^(file:\/\/\S+|\/[^\n]*):(\d+)$/.exec(head) ?? [];
  if (location === undefined || line === undefined) return undefined;
  return { path: pathOf(location), line };
}

/** The path of a file as a stack names it: ES modules by a URL. */
function pathOf(location: string): string {
  return location.startsWith('file:') ? fileURLToPath(location) : location;
}

/** A path as a user would type it here. */
function shownPath(path: string): string {
  const here = relative('', path);
  return here.startsWith('..') ? path : here;
}

function samePath(a: string, b: string): boolean {
  return relative(a, b) === '';
}

/** The package of a specifier like `lodash/fp` or `@scope/name/part`. */
function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}
