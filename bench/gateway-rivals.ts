/** The other gateways: how they are installed, and how they are started in front of one engine. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { KEY, MODEL } from './gateway-engine.js';

/** A gateway of others. */
export interface Rival {
  readonly name: string;
  /** Program that exists when it is installed, in its folder. */
  readonly program: string;
  /** Commands that install it, in its folder. */
  readonly install: readonly (readonly [string, ...string[]])[];
  /** Returns the command that starts it. `otherPort` is free too. */
  readonly createCommand: (folder: string, engine: string, port: number, otherPort: number) => [string, ...string[]];
  /** Headers of calls, in addition to content type and key. */
  readonly createHeaders?: (engine: string) => Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

const PYTHON = ['python3', '-m', 'venv', '.'] as const;

export const RIVALS: readonly Rival[] = [
  {
    name: 'smg 1.13.0',
    program: 'bin/smg',
    install: [PYTHON, ['bin/pip', 'install', '--quiet', 'smg==1.13.0']],
    createCommand: (folder, engine, port, otherPort) => [
      join(folder, 'bin/smg'),
      ...['launch', '--host', '127.0.0.1', '--port', String(port)],
      ...['--prometheus-port', String(otherPort), '--worker-urls', engine],
    ],
  },
  {
    name: 'Portkey 1.15.2',
    program: 'node_modules/@portkey-ai/gateway/build/start-server.js',
    install: [
      ['npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', '.', '@portkey-ai/gateway@1.15.2'],
    ],
    createCommand: (folder, _engine, port) => [
      process.execPath,
      join(folder, 'node_modules/@portkey-ai/gateway/build/start-server.js'),
      ...['--headless', `--port=${port}`],
    ],
    createHeaders: (engine) => ({ 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${engine}/v1` }),
    env: { NODE_ENV: 'production', TRUSTED_CUSTOM_HOSTS: '127.0.0.1,localhost' },
  },
  {
    name: 'LiteLLM 1.108.7',
    program: 'bin/litellm',
    install: [PYTHON, ['bin/pip', 'install', '--quiet', 'litellm[proxy]==1.108.7']],
    createCommand: (folder, engine, port) => {
      const config = join(folder, `config-${port}.json`);
      // JSON is YAML.
      const params = { model: `openai/${MODEL}`, api_base: `${engine}/v1`, api_key: '-' };
      writeFileSync(config, JSON.stringify({ model_list: [{ model_name: MODEL, litellm_params: params }] }));
      return [join(folder, 'bin/litellm'), '--host', '127.0.0.1', '--port', String(port), '--config', config];
    },
    env: { LITELLM_MASTER_KEY: KEY, LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_LOG: 'ERROR' },
  },
];

/** Returns the folder of a rival, outside of the project. */
export function getRivalFolder({ name }: Rival): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'anyserve-bench', name.toLowerCase().replace(/ /g, '-'));
}

/** Returns whether a rival is installed. */
export function isInstalled(rival: Rival): boolean {
  return existsSync(join(getRivalFolder(rival), rival.program));
}

/** Installs the rivals that are missing, from PyPI and npm. One that can't be installed is left out. */
export function installRivals(): void {
  for (const rival of RIVALS.filter((each) => !isInstalled(each))) {
    const folder = getRivalFolder(rival);
    mkdirSync(folder, { recursive: true });
    try {
      for (const [program, ...args] of rival.install)
        execFileSync(program.includes('/') ? join(folder, program) : program, args, { cwd: folder, stdio: 'inherit' });
    } catch (error) {
      console.error(`${rival.name} can't be installed: ${(error as Error).message}`);
    }
  }
}
