import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BINARY, type Outcome, type Running, run, start, startProgram, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const NODE = process.execPath;

let api: Running;
let server: string;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  api = start(['serve', '--port', '0']);
  server = await api.waitForOutput(/listening on (http:\S+)/);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await until('the list is empty', async () => !(await isListed()));
});

afterAll(stopAll);

async function isListed(): Promise<boolean> {
  const { replicas } = (await (await fetch(`${server}/registry`)).json()) as { replicas: unknown[] };
  return replicas.length > 0;
}

/** Starts `anyserve register` for r1 at a port. */
function register(port: number, ...args: string[]): Running {
  const own = ['--id', 'r1', '--endpoint', `127.0.0.1:${port}`, '--cap', 'type=chat', '--server', server];
  const running = start(['register', ...own, ...args]);
  cleanups.push(async () => {
    if (running.child.exitCode === null) await running.stop();
  });
  return running;
}

/** Runs `anyserve register` until it ends, with a program that needs no port. */
const registerToEnd = (...args: string[]): Promise<Outcome> => register(1, ...args).ended;

/** Waits until stderr matches `times` times. */
async function waitForStderr(running: Running, pattern: RegExp, times = 1): Promise<void> {
  const count = (): number => running.stderr().match(new RegExp(pattern, `g${pattern.flags}`))?.length ?? 0;
  await until(`stderr matches ${pattern} ${times} times`, () => count() >= times);
}

/** Returns the command line of a small model server that prints its process id when it listens. */
function formatModelServer(port: number, more = ''): string[] {
  const code = `const server = require('node:http').createServer((request, response) => response.end('ok'));
    server.listen(${port}, '127.0.0.1', () => console.log('pid ' + process.pid));
    ${more}`;
  return [NODE, '-e', code];
}

const readPid = async (running: Running): Promise<number> => Number(await running.waitForOutput(/pid (\d+)/));

/** Removes the lines about waiting: they are only printed when the program is not up before the first probe. */
function removeWaitingLines(text: string): string {
  return text.replace(/^.*waiting.*\n/gm, '');
}

/** Returns whether a process is running. A zombie does not count. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !existsSync('/proc/self') || !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** Returns the number of guard shells that wait to kill a process group. */
async function countGuards(group: number): Promise<number> {
  const { stdout } = await startProgram(['ps', '-eo', 'args']).ended;
  const guard = /^anyserve-orphan-guard .* (\d+)$/;
  const commands = stdout
    .split('\n')
    .filter((line) => line.trim().endsWith(` sh ${group}`) || guard.exec(line)?.[1] === `${group}`);
  return commands.length;
}

/** Starts an HTTP server in this process whose status can be changed. */
async function startHealthServer(): Promise<{ port: number; respond: (status: number) => void }> {
  let status = 503;
  const listening = createServer((_request, response) => response.writeHead(status).end());
  return {
    port: await listen(listening),
    respond: (to) => {
      status = to;
    },
  };
}

async function listen(listening: Pick<Server, 'listen' | 'address' | 'close'>): Promise<number> {
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => listening.close());
  return (listening.address() as AddressInfo).port;
}

describe('register with a program', () => {
  it('registers it once it is healthy, and removes it from the list before it stops it', async () => {
    const port = await findFreePort();
    const look = `setTimeout(() => process.on('SIGTERM', async () => {
      const { replicas } = await (await fetch('${server}/registry')).json();
      console.log('replicas at SIGTERM: ' + replicas.length);
      process.exit(7);
    }))`;
    const running = register(port, '--', ...formatModelServer(port, look));
    await waitForStderr(running, /registered r1/);
    expect(await isListed()).toBe(true);
    const { code, stdout, stderr } = await running.stop('SIGTERM');
    expect(code).toBe(7);
    expect(stdout).toMatch(/^pid \d+\nreplicas at SIGTERM: 0\n$/);
    expect(removeWaitingLines(stderr)).toBe(
      `healthy\nregistered r1 (127.0.0.1:${port}) with ${server}\nunregistered r1\n`,
    );
  });

  it('removes it from the list when it is killed, and ends with its exit code', async () => {
    const port = await findFreePort();
    const running = register(port, '--', ...formatModelServer(port));
    await waitForStderr(running, /registered r1/);
    process.kill(await readPid(running), 'SIGKILL');
    await until('it is removed from the list', async () => !(await isListed()), 1000);
    const { code, stderr } = await running.ended;
    expect(code).toBe(137);
    expect(stderr).toMatch(/^ended: \S+, signal SIGKILL\n$/m);
  });

  it('restarts it with --restart, and registers it again', async () => {
    const port = await findFreePort();
    const running = register(port, '--restart', '--', ...formatModelServer(port));
    await waitForStderr(running, /registered r1/);
    process.kill(await readPid(running), 'SIGKILL');
    await until('it is removed from the list', async () => !(await isListed()), 1000);
    await until('it is back in the list', isListed);
    expect(running.stderr()).toMatch(/^ended: \S+, signal SIGKILL; restarting in \d\.\d s\n/m);
    const { code, stderr } = await running.stop('SIGTERM');
    expect(code).toBe(143);
    expect(stderr.match(/^ended/gm)).toHaveLength(1);
  });

  it('restarts nothing after a signal to stop, not even during a restart delay', async () => {
    const running = register(1, '--restart', '--', 'sh', '-c', 'exit 4');
    await waitForStderr(running, /restarting/, 3);
    expect(await running.stop('SIGINT')).toMatchObject({ code: 4 });
  });

  it('kills a program that does not end within the drain time', async () => {
    const port = await findFreePort();
    const running = register(
      port,
      '--drain-timeout',
      '1500ms',
      '--',
      ...formatModelServer(port, "process.on('SIGTERM', () => console.log('ignored'))"),
    );
    await waitForStderr(running, /registered r1/);
    const { code, stdout, stderr } = await running.stop('SIGTERM');
    expect([code, stdout.includes('ignored')]).toEqual([137, true]);
    expect(stderr).toMatch(/^killed \S+: still running after 1\.5 s\n/m);
  });

  it('kills it at once on a second signal', async () => {
    const port = await findFreePort();
    const running = register(
      port,
      '--',
      ...formatModelServer(port, "process.on('SIGTERM', () => console.log('ignored'))"),
    );
    await waitForStderr(running, /registered r1/);
    running.child.kill('SIGTERM');
    await running.waitForOutput(/ignored/);
    expect((await running.stop('SIGTERM')).code).toBe(137);
  });

  it('ends all processes that a shell started', async () => {
    const port = await findFreePort();
    const [a, b] = [formatModelServer(port), formatModelServer(await findFreePort())].map(
      ([, , code]) => `"${NODE}" -e "${code}"`,
    );
    for (const end of [`wait`, `exec sleep 60`]) {
      const running = register(port, '--', 'sh', '-c', `${a} & ${b} & ${end}`);
      await waitForStderr(running, /registered r1/);
      await running.waitForOutput(/pid \d+\n[\s\S]*pid \d+\n/);
      const pids = [...running.stdout().matchAll(/pid (\d+)/g)].map(([, pid]) => Number(pid));
      expect(pids.map(isAlive)).toEqual([true, true]);
      await running.stop('SIGTERM');
      expect(pids.map(isAlive)).toEqual([false, false]);
    }
  });

  it('ends the processes that the program leaves behind, and removes it from the list before', async () => {
    const port = await findFreePort();
    const [, , code] = formatModelServer(port, "process.on('SIGTERM', () => setTimeout(() => process.exit(), 2000))");
    const running = register(port, '--', 'sh', '-c', `"${NODE}" -e "${code}" & read line; exit 6`);
    const pid = await readPid(running);
    await waitForStderr(running, /registered r1/);
    running.child.stdin?.end('\n');
    await until('it is removed from the list', async () => !(await isListed()));
    expect(isAlive(pid)).toBe(true);
    expect((await running.ended).code).toBe(6);
    expect(isAlive(pid)).toBe(false);
  });

  it('forwards other signals, and keeps running', async () => {
    const port = await findFreePort();
    const signals = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const;
    const listen = `for (const name of ${JSON.stringify(signals).replaceAll('"', "'")}) process.on(name, () => console.log('got ' + name));`;
    const running = register(port, '--', ...formatModelServer(port, listen));
    await waitForStderr(running, /registered r1/);
    for (const signal of signals) {
      running.child.kill(signal);
      await running.waitForOutput(new RegExp(`got ${signal}`));
    }
    expect(await isListed()).toBe(true);
    expect((await running.stop('SIGINT')).code).toBe(130);
  });

  it('is removed from the list while it is not healthy, and comes back', async () => {
    const other = await startHealthServer();
    const url = `http://127.0.0.1:${other.port}/ready`;
    const running = register(1, '--probe', 'http', '--probe-path', url, '--', 'sleep', '60');
    await waitForStderr(running, new RegExp(`waiting for ${url}: responded with HTTP 503\n`));
    other.respond(200);
    await waitForStderr(running, /registered r1/);
    other.respond(500);
    await waitForStderr(running, new RegExp(`unhealthy, unregistered: ${url}: responded with HTTP 500\n`));
    await until('it is no longer listed', async () => !(await isListed()));
    other.respond(204);
    await waitForStderr(running, /^healthy$/m, 2);
    await until('it is back in the list', isListed);
    await running.stop();
  });

  it('is registered when its HTTP health check responds later than the timeout of other probes', async () => {
    const slow = createServer((_request, response) => void setTimeout(() => response.end(), 1500));
    const url = `http://127.0.0.1:${await listen(slow)}/health`;
    const running = register(1, '--probe', 'http', '--probe-path', url, '--', 'sleep', '60');
    await waitForStderr(running, /registered r1/);
    expect(running.stderr()).not.toContain('waiting for');
    await running.stop();
  });

  it('checks the health of a gRPC server, and notices when it hangs', async () => {
    const port = await findFreePort();
    const worker = ['worker', '--backend', 'echo', '--cap', 'type=chat', '--no-register', '--port', `${port}`];
    const running = register(port, '--', 'sh', '-c', `echo "pid $$"; exec "${NODE}" "${BINARY}" ${worker.join(' ')}`);
    await waitForStderr(running, /registered r1/);
    expect((await run(['infer', 'chat', '--prompt', 'Hello', '--server', server])).stdout).toBe('Hello\n');
    const pid = await readPid(running);
    process.kill(pid, 'SIGSTOP');
    await until('it is no longer listed', async () => !(await isListed()), 10_000);
    expect(running.stderr()).toContain(`unhealthy, unregistered: 127.0.0.1:${port}: no response in time\n`);
    process.kill(pid, 'SIGCONT');
    await until('it is back', isListed, 4000);
    expect((await running.stop('SIGTERM')).code).toBe(0);
  });

  it('does not register a server that only accepts connections, unless the probe is tcp', async () => {
    const port = await findFreePort();
    const takesConnections = [NODE, '-e', `require('node:net').createServer(() => {}).listen(${port}, '127.0.0.1')`];
    const silent = register(port, '--', ...takesConnections);
    await waitForStderr(
      silent,
      /waiting for 127.0.0.1:\d+: no response in time; if it is not a gRPC server, choose --probe tcp/,
    );
    expect(await isListed()).toBe(false);
    await silent.stop();
    for (const kind of ['tcp', 'none']) {
      const enough = register(port, '--probe', kind, '--', ...takesConnections);
      await waitForStderr(enough, /registered r1/);
      expect(enough.stderr().includes('healthy')).toBe(kind === 'tcp');
      await enough.stop();
    }
  });

  it('does not start it while another process listens at its endpoint', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
    const socket = join(folder, 'taken.sock');
    const atSocket = createTcpServer().listen(socket);
    cleanups.push(() => atSocket.close());
    const port = await listen(createTcpServer());
    const atV6 = createTcpServer();
    await new Promise<void>((resolve) => atV6.listen(0, '::1', resolve));
    cleanups.push(() => atV6.close());
    const v6 = (atV6.address() as AddressInfo).port;
    for (const [endpoint, where] of [
      [`127.0.0.1:${port}`, `127.0.0.1:${port}`],
      [`localhost:${port}`, `localhost:${port} (127.0.0.1:${port})`],
      [`[::1]:${v6}`, `[::1]:${v6}`],
      [`unix:${socket}`, `unix:${socket}`],
    ]) {
      const marker = join(folder, 'started');
      const own = ['--id', 'r1', '--endpoint', endpoint as string, '--cap', 'type=chat', '--server', server];
      const { code, stdout, stderr } = await run(['register', ...own, '--', 'touch', marker]);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/^anyserve: .*\n$/);
      expect(stderr).toContain(`another process already listens at ${where}; stop that process`);
      expect(existsSync(marker)).toBe(false);
      expect(await isListed()).toBe(false);
    }
  });

  it('starts it when nothing listens on a left-over socket', async () => {
    const socket = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'left.sock');
    const code = `require('node:net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await startProgram([NODE, '-e', code]).ended;
    expect(existsSync(socket)).toBe(true);
    const own = ['--id', 'r1', '--endpoint', `unix:${socket}`, '--cap', 'type=chat', '--server', server];
    expect(await run(['register', ...own, '--', 'echo', 'started'])).toMatchObject({ code: 0, stdout: 'started\n' });
  });

  it.each(['', "process.on('SIGTERM', () => {});"])(
    'ends it with all its children, and nothing else, when it is killed itself (%s)',
    async (more) => {
      const port = await findFreePort();
      const grandchild = `const grandchild = require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(`${more} setInterval(() => {}, 1000)`)}]);
        console.log('grandchild ' + grandchild.pid);`;
      const running = register(port, '--', ...formatModelServer(port, `${more} ${grandchild}`));
      const bystander = startProgram(['sleep', '60']);
      cleanups.push(() => bystander.child.kill('SIGKILL'));
      await waitForStderr(running, /registered r1/);
      const pids = [await readPid(running), Number(await running.waitForOutput(/grandchild (\d+)/))];
      expect(pids.map(isAlive)).toEqual([true, true]);
      running.child.kill('SIGKILL');
      await until('all of its processes have ended', () => !pids.some(isAlive));
      expect(bystander.child.exitCode).toBe(null);
      await until('no guard process is left', async () => (await countGuards(pids[0] ?? 0)) === 0);
    },
  );

  it('leaves no guard when it ends, and has a guard for the current program after a restart', async () => {
    const port = await findFreePort();
    const running = register(port, '--restart', '--', ...formatModelServer(port));
    await waitForStderr(running, /registered r1/);
    const first = await readPid(running);
    expect(await countGuards(first)).toBe(1);
    process.kill(first, 'SIGKILL');
    await until('it runs again', () => running.stdout().match(/pid \d+/g)?.length === 2);
    const second = Number(running.stdout().match(/\d+/g)?.[1]);
    await until('the second has a guard', async () => (await countGuards(second)) === 1);
    await until('the first has none', async () => (await countGuards(first)) === 0);
    await running.stop('SIGTERM');
    await until('no guard is left', async () => (await countGuards(second)) === 0);
  });

  it('forwards any amount of standard input and output', async () => {
    const running = register(1, '--', 'cat');
    const text = 'a line of text\n'.repeat(500_000);
    running.child.stdin?.end(text);
    const { code, stdout } = await running.ended;
    expect([code, stdout.length, stdout === text]).toEqual([0, text.length, true]);
  });

  it('does not parse the options of the program', async () => {
    const words = ['--help', '--version', '--json', '--debug', '--port', '01', '--constructor', '', '--', '-x'];
    const { code, stdout, stderr } = await registerToEnd(
      '--',
      NODE,
      '-e',
      'console.log(JSON.stringify(process.argv.slice(1)))',
      '--',
      ...words,
    );
    expect([code, JSON.parse(stdout), removeWaitingLines(stderr)]).toEqual([0, words, `ended: ${NODE}, exit code 0\n`]);
  });

  it('ends with the exit code of the program, or reports why it cannot run it', async () => {
    expect((await registerToEnd('--', 'sh', '-c', 'exit 3')).code).toBe(3);
    expect((await registerToEnd('--', 'sh', '-c', 'kill -TERM $$')).code).toBe(143);
    expect(await registerToEnd('--', 'no-such-program', '--debug')).toEqual({
      code: 127,
      stdout: '',
      stderr: 'anyserve: program "no-such-program" not found; check its name and PATH\n',
    });
    expect(await registerToEnd('--', '/')).toEqual({
      code: 126,
      stdout: '',
      stderr: 'anyserve: cannot run "/": it is not executable; see chmod +x\n',
    });
  });

  it('prints JSON for programs', async () => {
    const port = await findFreePort();
    const running = register(port, '--json', '--', ...formatModelServer(port));
    await waitForStderr(running, /"registered"/);
    process.kill(await readPid(running), 'SIGKILL');
    const lines = removeWaitingLines((await running.ended).stderr)
      .trimEnd()
      .split('\n');
    const replica = { replica_id: 'r1', endpoint: `127.0.0.1:${port}` };
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { state: 'healthy', ...replica },
      { state: 'registered', ...replica, server },
      { state: 'ended', ...replica, exit_code: 137, signal: 'SIGKILL' },
    ]);
  });

  it('reports in JSON what it waits for, and that it restarts the program', async () => {
    const running = register(1, '--json', '--restart', '--', 'sh', '-c', 'sleep 2; exit 4');
    await waitForStderr(running, /"ended"/);
    const replica = '"replica_id":"r1","endpoint":"127.0.0.1:1"';
    expect(running.stderr()).toContain(
      `{"state":"waiting",${replica},"reason":"127.0.0.1:1: nothing listens there"}\n{"state":"ended",${replica},"exit_code":4,"retry_in_ms":`,
    );
    await running.stop();
  });

  it('ends the program when no server accepts the registration', async () => {
    const port = await findFreePort();
    const other = await listen(createServer((_request, response) => response.end('<html>')));
    const own = [
      '--id',
      'r1',
      '--endpoint',
      `127.0.0.1:${port}`,
      '--cap',
      'a=1',
      '--server',
      `http://127.0.0.1:${other}`,
    ];
    const running = start(['register', ...own, '--', ...formatModelServer(port)]);
    const pid = await readPid(running);
    const { code, stderr } = await running.ended;
    expect([code, isAlive(pid)]).toEqual([4, false]);
    expect(stderr).toMatch(/anyserve: http\S+ is not an AnyServe API server/);
  });
});

describe('register with a probe', () => {
  it('registers a server that is already running', async () => {
    const port = await findFreePort();
    const running = register(port, '--probe', 'tcp');
    await running.waitForOutput(/^waiting for 127.0.0.1:\d+: nothing listens there\n$/);
    const server = createTcpServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    await running.waitForOutput(/^healthy\nregistered r1/m);
    await new Promise((resolve) => server.close(resolve));
    await running.waitForOutput(/^unhealthy, unregistered: 127.0.0.1:\d+: nothing listens there\n/m);
    await until('it is no longer listed', async () => !(await isListed()));
    expect(await running.stop('SIGTERM')).toMatchObject({ code: 0, stderr: '' });
  });

  it('registers with the weight of --weight', async () => {
    const running = register(1, '--weight', '5');
    await running.waitForOutput(/registered r1/);
    const { replicas } = (await (await fetch(`${server}/replicas`)).json()) as { replicas: { weight: number }[] };
    expect(replicas.map(({ weight }) => weight)).toEqual([5]);
  });

  it('names the model that is not ready, and reports that it may not exist', async () => {
    const port = await findFreePort();
    const worker = start(['worker', '--backend', 'echo', '--no-register', '--port', `${port}`]);
    await worker.waitForOutput(/^serving on/);
    const running = register(port, '--probe-model', 'nobody');
    await running.waitForOutput(
      /^waiting for .*: model "nobody" is not ready, or the server has no model of that name; see --probe-model\n/m,
    );
    await running.stop();
  });

  it('does not report the release of a lease that it never had', async () => {
    const running = register(await findFreePort(), '--probe', 'tcp');
    await running.waitForOutput(/^waiting for/);
    expect((await running.stop('SIGTERM')).stdout).toMatch(/^waiting for .*\n$/);
  });

  it.each([
    [['--probe', 'udp'], '--probe "udp": unknown kind; give grpc, tcp, http or none'],
    [['--probe-path', '/health'], '--probe-path requires --probe http'],
    [
      ['--probe', 'http', '--probe-path', 'health'],
      '--probe-path "health" cannot be requested at 127.0.0.1:1; give a path',
    ],
    [['--restart'], '--restart requires a program; give one after --'],
    [['--drain-timeout', '3s'], '--drain-timeout requires a program; give one after --'],
    [['--drain-timeout', 'soon', '--', 'true'], '--drain-timeout "soon": give a time like 5s, 500ms or 2m'],
    [['--'], 'missing a program to run after --'],
    [['--', ''], 'missing a program to run after --'],
  ])('refuses %j in one line', async (args, words) => {
    const { code, stdout, stderr } = await registerToEnd(...args);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^anyserve: .*\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('ignores environment variables of other commands', async () => {
    const env = { ANYSERVE_DRAIN_TIMEOUT: '5s', ANYSERVE_RESTART: '1', ANYSERVE_SERVER: server };
    const running = start(['register', '--id', 'r1', '--endpoint', 'a:1', '--cap', 'a=1'], { env });
    await running.waitForOutput(/^registered r1/m);
    expect((await running.stop('SIGTERM')).code).toBe(0);
  });
});
