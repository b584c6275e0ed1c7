import type { EngineConnectionOptions } from '../client/engine/engine-connection.js';
import { MODEL_TYPES } from '../client/engine/model-type.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createClientTlsOptions, readClientTls } from './tls-options.js';

/** Options of the commands with `--openai` for the access to that server. */
export const OPENAI_ACCESS_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'openai-key-file': {
    type: 'text',
    value: 'FILE',
    description:
      'file with the API key for --openai; when not given, ANYSERVE_OPENAI_KEY or OPENAI_API_KEY holds the key',
  },
  ...createClientTlsOptions('for an https URL of --openai', 'openai-'),
};

/** Reads the access to the server of `--openai`: its key, TLS settings and proxy. Throws `usage`. */
export async function readOpenaiAccess(
  url: string,
  args: Arguments,
  io: CommandIo,
  log: Log,
): Promise<EngineConnectionOptions> {
  const { resolveUpstreamProxy } = await import('../client/engine/upstream-proxy.js');
  const proxy = await resolveUpstreamProxy(url, io.env);
  if (proxy)
    log.info(`connecting to ${url} through proxy ${proxy.name}; set NO_PROXY for hosts to connect to directly`, {
      event: 'proxy_used',
      proxy: proxy.name,
    });
  return { url, key: await readOpenaiKey(args, io, log), tls: readClientTls(args, io, 'openai-'), proxy };
}

/** Reads the API key for the server. A file is reloaded when it changes. The key is never an argument, which others could see. */
async function readOpenaiKey(
  args: Arguments,
  { env }: CommandIo,
  log: Log,
): Promise<string | (() => string) | undefined> {
  const { parseOpenaiKey } = await import('../client/engine/openai-access.js');
  const path = args.getText('openai-key-file');
  if (path === undefined) return env['ANYSERVE_OPENAI_KEY'] || env['OPENAI_API_KEY'] || undefined;
  const parse = ([text = '']: readonly string[]): string => parseOpenaiKey(text, `--openai-key-file ${path}`);
  return createReloadingGetter([{ option: 'openai-key-file', path, isSecret: true }], { parse }, { clock, log });
}

/**
 * Reads the options `--type NAME=TYPE`: the types of models by name. Throws `usage` for a type that is not one of `types`, or
 * if a model has two types.
 */
export function readModelTypes(args: Arguments, types: readonly string[] = MODEL_TYPES): Map<string, string> {
  const found = new Map<string, string>();
  for (const argument of args.getTexts('type')) {
    // A name can contain `=`, a type can't.
    const separator = argument.lastIndexOf('=');
    const [name, type] = [argument.slice(0, Math.max(0, separator)), argument.slice(separator + 1)];
    if (name === '' || !types.includes(type)) {
      const forms = types.map((word) => `NAME=${word}`);
      const expected = `${forms.slice(0, -1).join(', ')} or ${forms.at(-1)}`;
      throw new AnyserveError('usage', `--type ${JSON.stringify(argument)}: expected ${expected}`);
    }
    addModelType(found, name, type);
  }
  return found;
}

/** Adds the type of a model. Throws `usage` if the model has another one. */
export function addModelType(types: Map<string, string>, name: string, type: string): void {
  const other = types.get(name);
  if (other !== undefined && other !== type) {
    throw new AnyserveError('usage', `model ${JSON.stringify(name)} has two types, ${other} and ${type}; give one`);
  }
  types.set(name, type);
}
