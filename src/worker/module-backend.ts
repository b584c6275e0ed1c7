import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AnyserveError } from '../core/errors.js';
import { App } from './app.js';
import type { Backend } from './backend.js';
import { formatThrownError, toModuleError } from './module-load-error.js';

/**
 * Loads a user's module. Its default export is a function that declares models on the app it is given (and may take
 * its time, to load weights), or an app. Throws `usage` that says what is wrong with it.
 */
export async function loadModuleBackend(path: string): Promise<Backend> {
  const file = statSync(path, { throwIfNoEntry: false });
  if (!file) throw new AnyserveError('usage', `there is no file ${path}`);
  if (file.isDirectory()) throw new AnyserveError('usage', `${path} is a directory; give the file of a module`);
  const url = pathToFileURL(resolve(path)).href;
  const { default: exported } = await importModule(path, url);
  const backend = isPlainFunction(exported) ? await declared(path, exported) : exported;
  if (isBackend(backend) && backend.models.length > 0) return backend;
  const advice = 'let its default export be a function: (app) => app.capability({ type: "multiply" }, handler)';
  throw new AnyserveError('usage', `${path} declares no model; ${advice}${presentKind(exported)}`);
}

function isPlainFunction(exported: unknown): exported is (app: App) => unknown {
  return typeof exported === 'function' && !isClass(exported);
}

function isClass(exported: unknown): boolean {
  return typeof exported === 'function' && /^class\b/.test(String(exported));
}

/** What a default export is that is of the wrong kind, as the end of a message. */
function presentKind(exported: unknown): string {
  if (isPlainFunction(exported) || isBackend(exported)) return '';
  if (exported === undefined) return '; it has no default export';
  const kind = exported === null ? 'null' : isClass(exported) ? 'class' : typeof exported;
  return `; it is ${kind === 'object' ? 'an object' : kind === 'null' ? kind : `a ${kind}`}`;
}

async function declared(path: string, declare: (app: App) => unknown): Promise<Backend> {
  const app = new App();
  try {
    await declare(app);
  } catch (cause) {
    throw new AnyserveError('usage', `${path}: ${formatThrownError(path, cause)}`, { cause });
  }
  return app;
}

/** How Node says that it cannot load TypeScript: none at all, or none with what takes more than leaving types out. */
const TYPESCRIPT_REFUSED: ReadonlySet<string | undefined> = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
]);

async function importModule(path: string, url: string): Promise<LoadedModule> {
  let failure: unknown;
  const restore = [
    // What these say, the failure says as well.
    filterEvent('warning', ({ message }: Error) => !/^(?:To|Failed to) load (?:an|the) ES module/.test(message)),
    // Node 20 reports a syntax error in a CommonJS module that is imported a second time, as a rejection.
    filterEvent('unhandledRejection', (reason) => reason !== failure),
  ];
  try {
    return await import(url);
  } catch (cause) {
    failure = cause;
    const code = (cause as { code?: string } | null)?.code;
    if (TYPESCRIPT_REFUSED.has(code) && /\.[cm]?ts$/.test(path)) return importTypeScript(path, url);
    await new Promise((resolve) => setImmediate(resolve));
    throw toModuleError(path, cause);
  } finally {
    for (const one of restore) one();
  }
}

/** Has the listeners of a process event called only when a test passes. Returns how to undo that. */
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

/** Loads TypeScript on a Node that cannot, by way of the `tsx` that is installed beside the module. */
async function importTypeScript(path: string, url: string): Promise<LoadedModule> {
  const tsx = tsxBeside(url);
  if (tsx === undefined) {
    const advice = 'install tsx beside it (npm install tsx), or use Node 22.18 or newer';
    throw new AnyserveError(
      'usage',
      `${path} is TypeScript, which Node ${process.versions.node} cannot load; ${advice}`,
    );
  }
  try {
    const { tsImport } = (await import(tsx)) as { tsImport(url: string, parent: string): Promise<LoadedModule> };
    const { default: exported } = await tsImport(url, import.meta.url);
    // A module that counts as CommonJS has its exports, the default one among them, as its default.
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

/** The URL of tsx's ES module for programs; a `require` would be shown the other one. */
function tsxBeside(url: string): string | undefined {
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
