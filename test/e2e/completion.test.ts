import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { BINARY, run, start, startProgram, startProgramAtTerminal, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

const NOWHERE = 'http://127.0.0.1:1';
const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** Folder with an `anyserve` command. The shells run in it. */
const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
let env: NodeJS.ProcessEnv;
let server: string;

/** Values that would do harm if a shell executed them. */
const EVIL = ['$(touch evil)', '`touch evil`', 'a b; touch evil', 'it\'s "quoted"', '!x', '~', 'x\u001b[2Jy'];

beforeAll(async () => {
  symlinkSync(BINARY, join(folder, 'anyserve'));
  writeFileSync(join(folder, 'tokens.txt'), 'secret');
  mkdirSync(join(folder, 'my models'));
  writeFileSync(join(folder, 'my models', 'worker.js'), '');
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  env = {
    PATH: [folder, dirname(process.execPath), process.env['PATH']].join(delimiter),
    HOME: folder,
    // Zsh chooses its key bindings by the EDITOR variable.
    EDITOR: 'emacs',
    VISUAL: 'emacs',
    ANYSERVE_SERVER: server,
  };
  const caps = ['model=llama3:8b,type=chat', ...EVIL.map((evil) => JSON.stringify({ evil }))];
  const replica = ['--id', 'r1', '--endpoint', 'gpu7:8001', ...caps.flatMap((cap) => ['--cap', cap])];
  await start(['register', ...replica, '--server', server]).waitForOutput(/^registered/m);
});

afterAll(stopAll);

const STARTED: Readonly<Record<Shell, readonly string[]>> = {
  bash: ['bash', '--norc', '-i'],
  zsh: ['zsh', '-f', '-i'],
  fish: ['fish', '--no-config', '-i'],
};

const SOURCED: Readonly<Record<Shell, string>> = {
  bash: 'source <(anyserve completion bash)',
  zsh: 'source <(anyserve completion zsh)',
  fish: 'anyserve completion fish | source',
};

/** Types a line and TAB in a real shell in a terminal, and returns the words of the completed line. */
async function completeIn(shell: Shell, line: string, more: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const typing = startProgramAtTerminal(['env', '-C', folder, ...(STARTED[shell] ?? [])], { ...env, ...more });
  // Split into two parts, so that the echo of the typed text doesn't count as the output.
  typing.child.stdin?.write(`${SOURCED[shell]}; echo 're''ady'\n`);
  await typing.waitForOutput(/ready/);
  const before = typing.stdout().length;
  typing.child.stdin?.write(`${line}\t`);
  // Moves to the start of the line and prepends a command that prints its arguments.
  typing.child.stdin?.write(`\u0001printf 'wo''rd<%s>\\n' \u0005; echo 'do''ne'\n`);
  await typing.waitForOutput(/done\r?\n/);
  typing.child.stdin?.write('exit\n');
  await typing.ended;
  // Removes the sequences that move the cursor.
  const screen = stripVTControlCharacters(typing.stdout().slice(before));
  expect(screen).not.toMatch(/Error|anyserve:|usage/);
  return [...screen.matchAll(/^word<(.*)>\r?$/gm)].map(([, word]) => word as string);
}

/** Returns the completions that fish lists for a line. */
async function listWithFish(line: string, more: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const script = `${SOURCED.fish}; complete -C ${JSON.stringify(line)}`;
  const { stdout, stderr } = await startProgram(['fish', '--no-config', '-c', script], {
    env: { ...env, ...more },
    cwd: folder,
  }).ended;
  expect(stderr).toBe('');
  return stdout.split('\n').slice(0, -1);
}

/** Calls the completion function as bash does, and returns its replies for a line. */
async function replyInBash(line: string, more: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const script = `${SOURCED.bash}; [[ $(complete -p anyserve) == *'-F _anyserve'* ]] || exit 1
    COMP_LINE=$1 COMP_POINT=\${#1}; _anyserve anyserve "" ""; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const asked = startProgram(['bash', '--norc', '-c', script, 'bash', line], { env: { ...env, ...more }, cwd: folder });
  const { code, stdout, stderr } = await asked.ended;
  expect([code, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter(Boolean);
}

describe.each(SHELLS)('in %s, TAB', (shell) => {
  it.each([
    ['anyserve regis', ['anyserve', 'regist']],
    ['anyserve serve --hea', ['anyserve', 'serve', '--heartbeat']],
    ['anyserve register --probe t', ['anyserve', 'register', '--probe', 'tcp']],
    ['anyserve register --probe=t', ['anyserve', 'register', '--probe=tcp']],
    ['anyserve worker --backend e', ['anyserve', 'worker', '--backend', 'echo']],
    ['anyserve infer ll', ['anyserve', 'infer', 'llama3:8b']],
    ['anyserve infer llama3:', ['anyserve', 'infer', 'llama3:8b']],
    ['anyserve route model=', ['anyserve', 'route', 'model=llama3:8b']],
    ['anyserve route mo', ['anyserve', 'route', 'model=']],
    ['anyserve registry type=chat mod', ['anyserve', 'registry', 'type=chat', 'model=']],
    ['anyserve infer x --cap type=chat,model=l', ['anyserve', 'infer', 'x', '--cap', 'type=chat,model=llama3:8b']],
    ['anyserve events --replica r', ['anyserve', 'events', '--replica', 'r1']],
    ['anyserve events --kind rem', ['anyserve', 'events', '--kind', 'removed']],
    ['anyserve events --kind removed --kind id', ['anyserve', 'events', '--kind', 'removed', '--kind', 'id_conflict']],
    ['anyserve infer x --endpoint gp', ['anyserve', 'infer', 'x', '--endpoint', 'gpu7:8001']],
    ['anyserve cordon r', ['anyserve', 'cordon', 'r1']],
    ['anyserve register --id r', ['anyserve', 'register', '--id', 'r1']],
    ['anyserve serve --register-token-file tok', ['anyserve', 'serve', '--register-token-file', 'tokens.txt']],
    ['anyserve worker ./tok', ['anyserve', 'worker', './tokens.txt']],
    ['anyserve worker my\\ models/wo', ['anyserve', 'worker', 'my models/worker.js']],
    ['anyserve serve --tls-cert=tok', ['anyserve', 'serve', '--tls-cert=tokens.txt']],
    ['anyserve help rou', ['anyserve', 'help', 'route']],
    ['anyserve completion z', ['anyserve', 'completion', 'zsh']],
  ])('completes %j', async (line, words) => {
    expect(await completeIn(shell, line)).toEqual(words);
  });

  it('never prints into the prompt', async () => {
    for (const line of [
      'anyserve serve --',
      'anyserve nonsense --',
      'anyserve route --nonsense x ',
      'anyserve --port 1 ',
    ]) {
      expect(await completeIn(shell, line, { ANYSERVE_SERVER: NOWHERE })).toEqual(line.trim().split(' '));
    }
  });

  it('never makes the shell execute values of a replica', async () => {
    const words = await completeIn(shell, 'anyserve route evil=\\$');
    expect(words).toEqual(['anyserve', 'route', 'evil=$(touch evil)']);
    expect(await completeIn(shell, 'anyserve route evil=a')).toEqual(['anyserve', 'route', 'evil=a b; touch evil']);
    expect(existsSync(join(folder, 'evil'))).toBe(false);
  });
});

describe('completion', () => {
  it('offers all options of each command', async () => {
    for (const { name: command } of COMMANDS) {
      const { stdout } = await run([command, '--help']);
      const options = [...stdout.matchAll(/^ {2,6}(?:-\w, )*(--[\w-]+)/gm)].map(([, name]) => name).sort();
      expect(options.length).toBeGreaterThan(2);
      const listed = await listWithFish(`anyserve ${command} --`);
      expect([...listed.map((line) => line.split('\t')[0]), '--version'].sort()).toEqual(options);
      expect([...(await replyInBash(`anyserve ${command} --`)), '--version'].sort()).toEqual(options);
    }
  });

  it('offers an option once, unless it can be repeated', async () => {
    const replied = await replyInBash('anyserve route --wait 3s --server x --');
    expect(replied).toContain('--server');
    expect(replied).not.toContain('--wait');
    expect(await replyInBash('anyserve route --wait --')).toEqual([]);
  });

  it('completes files after a redirection', async () => {
    for (const line of ['anyserve route model=x > tok', 'anyserve serve 2>>tok']) {
      const { stdout } = await run(['__complete', 'bash', line, ' \t\n"\'><=;|&(:']);
      expect(stdout).toBe('files\n');
    }
    // Bash removes the redirection's file from the words of the command.
    const words = await completeIn('bash', 'anyserve serve --port 1 < tok');
    expect(words).toEqual(['anyserve', 'serve', '--port', '1']);
  });

  it('describes values in shells that show descriptions', async () => {
    expect(await listWithFish('anyserve regis')).toEqual([
      'register\tkeep a model server registered',
      'registry\tlist replicas',
    ]);
    expect(await listWithFish('anyserve infer ')).toEqual(['chat\t1 replica', 'llama3:8b\t1 replica']);
  });

  it('offers no values with control characters', async () => {
    const values = await listWithFish('anyserve route evil=x');
    expect(values).toEqual([]);
  });

  it('queries only the server that the line names', async () => {
    const line = `anyserve route --server ${server} model=`;
    expect(await listWithFish(line, { ANYSERVE_SERVER: NOWHERE })).toEqual(['model=llama3:8b\t1 replica']);
    expect(await listWithFish('anyserve route model=', { ANYSERVE_SERVER: NOWHERE })).toEqual([]);
  });

  it('waits at most half a second for a server that does not respond, and queries none for static values', async () => {
    let connections = 0;
    let openForMs = 0;
    const silent = createServer((socket) => {
      connections++;
      const openedAtMs = performance.now();
      socket.resume().on('close', () => {
        openForMs = performance.now() - openedAtMs;
      });
    });
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const { port } = silent.address() as AddressInfo;
    const more = { ANYSERVE_SERVER: `http://127.0.0.1:${port}` };
    for (const args of [
      ['completion', 'bash'],
      ['__complete', 'fish', 'serve', '--'],
      ['__complete', 'fish', 'register', '--probe', ''],
    ]) {
      expect((await run(args, { env: more })).stdout).not.toBe('');
    }
    expect(connections).toBe(0);
    await run(['__complete', 'fish', 'route', ''], { env: more });
    await until('its connection is closed', () => openForMs > 0);
    expect(connections).toBe(1);
    // Other commands wait for 3 s; the rest is for a busy machine.
    expect(openForMs).toBeLessThan(2000);
    silent.close();
  });

  it('never writes to stderr, and never fails', async () => {
    for (const args of [
      [],
      ['bash'],
      ['bash', 'anyserve "'],
      ['fish', 'route', '--token-file', '/no/such', ''],
      ['tcsh', 'x'],
    ]) {
      const { code, stderr } = await run(['__complete', ...args], { env: { ANYSERVE_SERVER: 'no URL' } });
      expect([code, stderr]).toEqual([0, '']);
    }
    const plain = await run(['--get-yargs-completions', 'anyserve', 'reg']);
    expect(plain).toEqual({ code: 0, stdout: 'register\nregistry\n', stderr: '' });
  });

  it('prints the script for the named shell, or by default for $SHELL', async () => {
    const printScript = async (args: string[], SHELL: string) =>
      (await run(['completion', ...args], { env: { SHELL } })).stdout;
    expect(await printScript(['zsh'], '/bin/bash')).toContain('compdef');
    expect(await printScript(['fish'], '/bin/bash')).toContain('commandline');
    expect(await printScript([], '/usr/bin/fish')).toBe(await printScript(['fish'], ''));
    expect(await printScript([], '/bin/sh')).toBe(await printScript(['bash'], ''));
    expect(await run(['completion', 'tcsh'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'anyserve: no completion for shell "tcsh"; use one of bash, zsh, fish\n',
    });
  });
});
