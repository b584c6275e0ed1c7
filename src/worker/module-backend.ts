import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AnyserveError } from '../core/errors.js';
import { App } from './app.js';
import type { Backend } from './backend.js';
import { formatThrownError, toModuleError } from './module-load-error.js';

/**
 * Loads a user's module. Its default export is a function that declares models on an app, or an app. The function can be
 * asynchronous, for example to load weights. Throws `usage` with a description of the problem.
 */
export async function loadModuleBackend(path: string): Promise<Backend> {
  const file = statSync(path, { throwIfNoEntry: false });
  if (!file) throw new AnyserveError('usage', `file not found: ${path}`);
  if (file.isDirectory()) throw new AnyserveError('usage', `${path} is a directory; specify the file of a module`);
  const url = pathToFileURL(resolve(path)).href;
  const { default: exported } = await importModule(path, url);
  const backend = isPlainFunction(exported) ? await declareModels(path, exported) : exported;
  if (isBackend(backend) && backend.models.length > 0) return backend;
  const advice = 'its default export must be a function: (app) => app.capability({ type: "multiply" }, handler)';
  throw new AnyserveError('usage', `${path} declares no model; ${advice}${formatExportKind(exported)}`);
}

function isPlainFunction(exported: unknown): exported is (app: App) => unknown {
  return typeof exported === 'function' && !isClass(exported);
}

function isClass(exported: unknown): boolean {
  return typeof exported === 'function' && /^class\b/.test(String(exported));
}

/** Returns the end of a message: the kind of a default export, if it is the wrong one. */
function formatExportKind(exported: unknown): string {
  if (isPlainFunction(exported) || isBackend(exported)) return '';
  if (exported === undefined) return '; it has no default export';
  const kind = exported === null ? 'null' : isClass(exported) ? 'class' : typeof exported;
  return `; it is ${kind === 'object' ? 'an object' : kind === 'null' ? kind : `a ${kind}`}`;
}

async function declareModels(path: string, declare: (app: App) => unknown): Promise<Backend> {
  const app = new App();
  try {
    await declare(app);
  } catch (cause) {
    throw new AnyserveError('usage', `${path}: ${formatThrownError(path, cause)}`, { cause });
  }
  return app;
}

/** Node's error codes for TypeScript that it can't load: all of it, or syntax that takes more than removing types. */
const TYPESCRIPT_ERROR_CODES: ReadonlySet<string | undefined> = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
]);

async function importModule(path: string, url: string): Promise<LoadedModule> {
  let failure: unknown;
  const restore = [
    // These warnings repeat what the error says.
    filterEvent('warning', ({ message }: Error) => !/^(?:To|Failed to) load (?:an|the) ES module/.test(message)),
    // Node 20 also reports a syntax error as an unhandled rejection if a CommonJS module is imported a second time.
    filterEvent('unhandledRejection', (reason) => reason !== failure),
  ];
  try {
    return await import(url);
  } catch (cause) {
    failure = cause;
    const code = (cause as { code?: string } | null)?.code;
    if (TYPESCRIPT_ERROR_CODES.has(code) && /\.[cm]?ts$/.test(path)) return importTypeScript(path, url);
    await new Promise((resolve) => setImmediate(resolve));
    throw toModuleError(path, cause);
  } finally {
    for (const restoreListeners of restore) restoreListeners();
  }
}

/** Calls the listeners of a process event only if a test passes. Returns a function that undoes this. */
function filterEvent(event: 'warning' | 'unhandledRejection', test: (argument: Error) => boolean): () => void {
  type Listener = (...args: [Error, ...unknown[]]) => void;
  const events = process as NodeJS.EventEmitter;
  const listeners = events.listeners(event) as Listener[];
  const filter: Listener = (...args) => {
    if (test(args[0])) for (const listener of listeners) listener(...args);
  };
  for (const listener of listeners) events.removeListener(event, listener);
  events.on(event, filter);
  return () => {
    events.removeListener(event, filter);
    for (const listener of listeners) events.on(event, listener);
  };
}

/** Loads TypeScript on a Node version that doesn't support it, with the `tsx` package installed next to the module. */
async function importTypeScript(path: string, url: string): Promise<LoadedModule> {
  const tsx = findTsx(url);
  if (tsx === undefined) {
    const advice = 'install tsx next to it (npm install tsx), or use Node 22.18 or newer';
    throw new AnyserveError(
      'usage',
      `${path} is TypeScript, which Node ${process.versions.node} doesn't support; ${advice}`,
    );
  }
  try {
    const { tsImport } = (await import(tsx)) as { tsImport(url: string, parent: string): Promise<LoadedModule> };
    const { default: exported } = await tsImport(url, import.meta.url);
    // For a CommonJS module, the default export contains all exports, including the module's own default.
    return isModule(exported) ? exported : { default: exported };
  } catch (cause) {
    throw toModuleError(path, cause);
  }
}

interface LoadedModule {
  readonly default?: unknown;
}

function isModule(exported: unknown): exported is LoadedModule {
  return typeof exported === 'object' && exported !== null && 'default' in exported;
}

/** Returns the URL of tsx's ES module API, or undefined without tsx. `require.resolve` would return the CommonJS one. */
function findTsx(url: string): string | undefined {
  const require = createRequire(url);
  try {
    const { exports } = require('tsx/package.json') as TsxPackage;
    return new URL(exports['./esm/api'].import.default, pathToFileURL(require.resolve('tsx/package.json'))).href;
  } catch {
    return undefined;
  }
}

interface TsxPackage {
  readonly exports: { readonly './esm/api': { readonly import: { readonly default: string } } };
}

function isBackend(value: unknown): value is Backend {
  return typeof value === 'object' && value !== null && 'models' in value && Array.isArray(value.models);
}
