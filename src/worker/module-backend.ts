import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AnyserveError, messageOf } from '../core/errors.js';
import { App } from './app.js';
import type { Backend } from './backend.js';

/**
 * Loads a user's module. Its default export is a function that declares models on the app it is given (and may take
 * its time, to load weights), or an app. Throws `usage` that says what is wrong with it.
 */
export async function loadModuleBackend(path: string): Promise<Backend> {
  if (!existsSync(path)) throw new AnyserveError('usage', `there is no file ${path}`);
  const url = pathToFileURL(resolve(path)).href;
  const { default: exported } = await importModule(path, url);
  const backend = typeof exported === 'function' ? await declared(path, exported as (app: App) => unknown) : exported;
  if (isBackend(backend) && backend.models.length > 0) return backend;
  throw new AnyserveError(
    'usage',
    `${path} declares no model; let its default export be a function: (app) => app.capability({ type: "multiply" }, handler)`,
  );
}

async function declared(path: string, declare: (app: App) => unknown): Promise<Backend> {
  const app = new App();
  try {
    await declare(app);
  } catch (cause) {
    throw new AnyserveError('usage', `${path}: ${messageOf(cause)}`, { cause });
  }
  return app;
}

async function importModule(path: string, url: string): Promise<{ default?: unknown }> {
  try {
    return await import(url);
  } catch (cause) {
    const code = (cause as { code?: string } | null)?.code;
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts$/.test(path)) return importTypeScript(path, url);
    throw new AnyserveError('usage', `cannot load ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Loads TypeScript on a Node that cannot, by way of the `tsx` that is installed beside the module. */
async function importTypeScript(path: string, url: string): Promise<{ default?: unknown }> {
  let tsx: string;
  try {
    tsx = createRequire(url).resolve('tsx/esm/api');
  } catch (cause) {
    const message = `${path} is TypeScript, which Node ${process.versions.node} cannot load; install tsx beside it (npm install tsx), or use Node 22.18 or newer`;
    throw new AnyserveError('usage', message, { cause });
  }
  const { tsImport } = (await import(pathToFileURL(tsx).href)) as {
    tsImport(url: string, parent: string): Promise<{ default?: unknown }>;
  };
  try {
    return await tsImport(url, import.meta.url);
  } catch (cause) {
    throw new AnyserveError('usage', `cannot load ${path}: ${messageOf(cause)}`, { cause });
  }
}

function isBackend(value: unknown): value is Backend {
  return typeof value === 'object' && value !== null && 'models' in value && Array.isArray(value.models);
}
