import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { COMMON_OPTIONS } from '../../src/cli/command.js';
import { COMMANDS } from '../../src/cli/commands.js';
import { toVariableName } from '../../src/cli/help-text.js';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
/** The reason why units can't be checked here; undefined if they can. */
const systemdProblem =
  spawnSync('systemd-analyze', ['--version']).status === 0 ? undefined : 'systemd-analyze is not installed';
if (systemdProblem !== undefined) console.warn(`skipped: ${systemdProblem}`);

const folder = mkdtempSync(join(tmpdir(), 'anyserve-units-'));

afterAll(() => rmSync(folder, { recursive: true }));

function listFiles(name: string, end: string): string[] {
  return readdirSync(join(EXAMPLES, name))
    .filter((file) => file.endsWith(end))
    .map((file) => join(EXAMPLES, name, file));
}

/** Returns the variables that a command reads as its options. */
async function listVariables(name: string): Promise<Set<string>> {
  const command = await COMMANDS.find((one) => one.name === name)?.load();
  if (!command) throw new Error(`there is no command ${name}`);
  return new Set(Object.keys({ ...command.options, ...COMMON_OPTIONS }).map(toVariableName));
}

interface Container {
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string }[];
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template?: {
      readonly spec: { readonly containers: readonly Container[]; readonly enableServiceLinks?: boolean };
    };
  };
}

function readManifests(file: string): Manifest[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS() as Manifest);
}

/** Throws if a manifest does not match the schema of Kubernetes. */
async function validate(manifest: Manifest): Promise<void> {
  const { apiVersion, kind } = manifest;
  const models = (await import(/* @vite-ignore */ `kubernetes-models/${apiVersion}/${kind}`)) as Readonly<
    Record<string, new (manifest: Manifest) => { validate(): void }>
  >;
  const Model = models[kind];
  if (!Model) throw new Error(`Kubernetes has no ${apiVersion} ${kind}`);
  new Model(manifest).validate();
}

describe.each(listFiles('kubernetes', '.yaml').map((file) => [basename(file), file]))('%s', (_name, file) => {
  it('matches the schemas of Kubernetes', async () => {
    const manifests = readManifests(file);
    expect(manifests.length).toBeGreaterThan(0);
    for (const manifest of manifests) await validate(manifest);
    const [first] = manifests;
    const wrong = { ...first, spec: { ...first?.spec, selector: 7, replicas: 'two' } } as unknown as Manifest;
    await expect(validate(wrong)).rejects.toThrow();
  });

  it('sets only variables that the command has', async () => {
    const containers = readManifests(file).flatMap(({ spec }) => spec.template?.spec.containers ?? []);
    for (const { image, args = [], env = [] } of containers) {
      if (!image.startsWith('anyserve:')) continue;
      const known = await listVariables(args[0] ?? '');
      const names = env.map(({ name }) => name).filter((name) => name.startsWith('ANYSERVE_'));
      expect(names.filter((name) => !known.has(name))).toEqual([]);
    }
  });
});

it('no Service of Kubernetes sets an option of the pods through the variables that are named after it', async () => {
  const manifests = listFiles('kubernetes', '.yaml').flatMap(readManifests);
  const services = manifests.filter(({ kind }) => kind === 'Service').map(({ metadata }) => metadata.name);
  const variables = services.flatMap((name) =>
    ['PORT', 'SERVICE_HOST', 'SERVICE_PORT'].map((end) => `${name.replaceAll('-', '_').toUpperCase()}_${end}`),
  );
  expect(variables).toContain('ANYSERVE_PORT');
  const pods = manifests.flatMap(({ spec }) => spec.template?.spec ?? []);
  for (const { containers, enableServiceLinks } of pods) {
    if (enableServiceLinks === false) continue;
    for (const { image, args = [] } of containers) {
      if (!image.startsWith('anyserve:')) continue;
      const known = await listVariables(args[0] ?? '');
      expect(variables.filter((variable) => known.has(variable))).toEqual([]);
    }
  }
});

it('the API servers of the examples count the offers of each model, which the alert about models needs', () => {
  const manifests = readFileSync(join(EXAMPLES, 'kubernetes', 'api-server.yaml'), 'utf8');
  expect(manifests).toContain('{ name: ANYSERVE_METRICS_KEYS, value: model }');
  const unit = readFileSync(join(EXAMPLES, 'systemd', 'anyserve-api.service'), 'utf8');
  expect(unit).toContain('Environment=ANYSERVE_METRICS_KEYS=model\n');
});

describe.each(listFiles('systemd', '.service').map((file) => [basename(file), file]))('%s', (name, file) => {
  const text = readFileSync(file, 'utf8');

  it('sets and mentions only variables that the command has', async () => {
    const command = /^ExecStart=\/usr\/local\/bin\/anyserve (\w+)/m.exec(text)?.[1] ?? '';
    const known = await listVariables(command);
    const names = [...text.matchAll(/ANYSERVE_\w+/g)].map(([variable]) => variable);
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((variable) => !known.has(variable))).toEqual([]);
  });

  it.skipIf(systemdProblem !== undefined)('is accepted by systemd', () => {
    // The program must exist for the check, so another one takes its place. An instance has a name in place of @.
    const unit = join(folder, name.replace('@.', '@test.'));
    writeFileSync(unit, text.replaceAll('/usr/local/bin/anyserve', process.execPath));
    execFileSync('systemd-analyze', ['verify', unit], { stdio: 'pipe' });
    writeFileSync(unit, text.replace('ExecStart=', 'ExecStrat='));
    expect(() => execFileSync('systemd-analyze', ['verify', unit], { stdio: 'pipe' })).toThrow();
  });
});

it('the batch script of Slurm is valid bash and uses only options of "anyserve register"', async () => {
  const script = join(EXAMPLES, 'slurm', 'engine.sbatch');
  execFileSync('bash', ['-n', script]);
  const [, call = ''] = /anyserve register([\s\S]*?)\n {2}-- /.exec(readFileSync(script, 'utf8')) ?? [];
  const options = [...call.matchAll(/--([\w-]+)/g)].map(([, option]) => toVariableName(option ?? ''));
  const known = await listVariables('register');
  expect(options.length).toBeGreaterThan(3);
  expect(options.filter((option) => !known.has(option))).toEqual([]);
});
