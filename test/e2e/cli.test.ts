import { spawnSync } from 'node:child_process';
import { mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { BINARY, type Running, run, start, startAtTerminal, stopAll } from '../support/binary.js';
import { startCurlRegistrant } from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const NOWHERE = 'http://127.0.0.1:1';

let api: Running;
let server: string;
const extras: Running[] = [];

beforeAll(async () => {
  api = start(['serve', '--port', '0']);
  server = await api.waitForOutput(/listening on (http:\S+)/);
});

afterEach(async () => {
  for (const extra of extras.splice(0)) if (extra.child.exitCode === null) await extra.stop('SIGKILL');
  await until('the list is empty', async () => (await countRegistered()) === 0);
});

afterAll(stopAll);

async function countRegistered(): Promise<number> {
  const response = (await (await fetch(`${server}/registry`)).json()) as { replicas: unknown[] };
  return response.replicas.length;
}

/** Starts a long-running command, and waits until its output matches. */
async function startAndWait(pattern: RegExp, ...args: string[]): Promise<Running> {
  const started = start([...args, '--server', server]);
  extras.push(started);
  await started.waitForOutput(pattern);
  return started;
}

const startRegistrant = (id: string, ...caps: string[]): Promise<Running> =>
  startAndWait(
    /registered/,
    'register',
    '--id',
    id,
    '--endpoint',
    'localhost:50051',
    ...caps.flatMap((cap) => ['--cap', cap]),
  );

const startEchoWorker = (...args: string[]): Promise<Running> =>
  startAndWait(/^registered/m, 'worker', '--backend', 'echo', '--port', '0', ...args);

/** Writes a user's module to a file and returns its path. */
function writeModule(name: string, text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'anyserve-')), name);
  writeFileSync(path, text);
  return path;
}

describe('the help', () => {
  it('begins with examples, and shows defaults and environment variables', async () => {
    for (const args of [[], ['--help'], ['route', '--help'], ['worker', '-h']]) {
      const { code, stdout, stderr } = await run(args);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/^Examples:\n {2}anyserve /);
    }
    const { stdout } = await run(['serve', '--help']);
    expect(stdout.replace(/\s+/g, ' ')).toContain('[default: 8080; variable: ANYSERVE_PORT]');
  });

  it('shows the version', async () => {
    expect((await run(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('is also shown by the words "help" and "version"', async () => {
    const same: readonly (readonly [string[], string[]])[] = [
      [['help'], ['--help']],
      [
        ['help', 'route'],
        ['route', '--help'],
      ],
      [
        ['help', 'completion'],
        ['completion', '-h'],
      ],
      [['version'], ['--version']],
      [['-v'], ['--version']],
      [['-V'], ['--version']],
      [['route', '-v'], ['--version']],
      [
        ['-h', 'route'],
        ['route', '--help'],
      ],
      [
        ['--json', 'help', 'route'],
        ['route', '--help'],
      ],
    ];
    for (const [asked, plain] of same) expect(await run(asked), asked.join(' ')).toEqual(await run(plain));
    expect((await run(['help', 'rout'])).stderr).toBe('anyserve: unknown command "rout"; did you mean route?\n');
  });

  it('fits the width of a terminal, or COLUMNS in a pipe', async () => {
    for (const name of ['', ...COMMANDS.map((command) => command.name)]) {
      const args = name === '' ? ['--help'] : [name, '--help'];
      const { stdout } = await run(args, { env: { COLUMNS: '80' } });
      // A word in quotes is not wrapped, so that it can be copied.
      const tooLong = stdout.split('\n').filter((line) => line.length > 80 && !/^ +'[^']*'(?: \\)?$/.test(line));
      expect(tooLong, name).toEqual([]);
    }
    const wide = startAtTerminal(['route', '--help'], { COLUMNS: '60' });
    const { stdout } = await wide.ended;
    expect(stdout).toContain('Examples:');
    expect(stdout.split(/\r?\n/).filter((line) => line.length > 60)).toEqual([]);
  });

  it('shows examples that can be copied at any width', async () => {
    const wide = await run(['register', '--help'], { env: { COLUMNS: '100' } });
    const narrow = await run(['register', '--help'], { env: { COLUMNS: '50' } });
    const commands = (text: string): string[] =>
      (text.split('\n\n')[0] ?? '')
        .replace(/ \\\n +/g, ' ')
        .split('\n')
        .filter((line) => line.startsWith('  anyserve'));
    expect(commands(narrow.stdout)).toEqual(commands(wide.stdout));
    expect(commands(narrow.stdout).length).toBeGreaterThan(3);
  });
});

describe('wrong usage', () => {
  it.each([
    [['rout'], 'unknown command "rout"; did you mean route?'],
    [['frobnicate'], 'unknown command "frobnicate"; see anyserve --help'],
    [['frobnicate', '--help'], 'unknown command "frobnicate"; see anyserve --help'],
    [['nope'], 'unknown command "nope"; see anyserve --help'],
    [['list'], 'unknown command "list"; did you mean registry?'],
    [['ls'], 'unknown command "ls"; did you mean registry?'],
    [['ps'], 'unknown command "ps"; did you mean registry?'],
    [['call', 'chat'], 'unknown command "call"; did you mean infer?'],
    [['x'.repeat(100_000)], 'see anyserve --help'],
    [['-h', 'rout'], 'unknown command "rout"; did you mean route?'],
    [['--server', 'http://[::1]:1', 'rout'], 'unknown command "rout"; did you mean route?'],
    [['--frobnicate', 'route'], 'missing COMMAND: give it before its options; see anyserve --help'],
    [['--', 'route'], 'missing COMMAND: give it before its options; see anyserve --help'],
    [['infer', 'x', 'Hello', 'there'], 'unexpected argument "there"; put the prompt in quotes'],
    [['infer', 'x', 'Hello', '--prompt', 'there'], 'the prompt is given twice: after the model and with --prompt'],
    [['route', '--sever', 'x'], 'anyserve route has no option --sever; did you mean --server?'],
    [['route', '--server'], '--server needs a value; if the value begins with -, write --server=VALUE'],
    [['route', '--server', 'http://x/?a=1'], '--server: "http://x/?a=1" is not an API server URL'],
    [['serve', '--host', ''], '--host needs a value'],
    [['route', '--constructor=1'], 'unknown option --constructor; see anyserve --help'],
    [['route', '--', '--help'], '"--help" is not KEY=VALUE, such as type=chat'],
    [['route', 'chat'], '"chat" is not KEY=VALUE, such as type=chat'],
    [['route', 'a=1', 'a=2'], 'key "a" is given twice; give it one value'],
    [
      ['route', '--server', 'localhost:8080'],
      '--server: "localhost:8080" is not an API server URL; give one like http://localhost:8080',
    ],
    [['serve', '--port', 'abc'], '--port "abc": give a whole number from 0 to 65535'],
    [['serve', '--port', '1', '--port', '2'], '--port is given 2 times; give it once'],
    [
      ['register', '--endpoint', 'h:1', '--cap', 'a=1', '--weight', '0'],
      '--weight "0": give a whole number from 1 to 1000',
    ],
    [['worker', '--backend', 'echo', '--weight', '1001'], '--weight "1001": give a whole number from 1 to 1000'],
    [['serve', '--heartbeat', 'soon'], '--heartbeat "soon": give a time like 5s, 500ms or 2m'],
    [['serve', '--heartbeat', '0'], '--heartbeat "0": too short; give 1ms or more'],
    [['route', '--wait', '1000h'], '--wait "1000h": too long; give 24 days (576h) or less'],
    [['route', '--wait', '-1'], '--wait "-1": give a time like 5s, 500ms or 2m'],
    [['register', '--id', 'r', '--endpoint', 'a:1'], 'missing --cap KEY=VALUE, a capability of the model server'],
    [
      ['register', '--id', 'r', '--endpoint', 'a', '--cap', 'a=1'],
      '--endpoint: "a" is not an endpoint to register: it has no port; give HOST:PORT',
    ],
    [['register', '--id', 'r', '--endpoint', 'a:1', '--cap', 'a'], '--cap: "a" is not KEY=VALUE, such as type=chat'],
    [
      ['register', '--endpoint', 'a:1', '--cap', 'a=1', '--label', 'b'],
      '--label: "b" is not KEY=VALUE, such as type=chat',
    ],
    [['infer', 'x', '--endpoint', 'a'], '--endpoint: "a" is not an endpoint; give HOST:PORT'],
    [['worker', '--backend', 'echo', '--advertise', 'a'], '--advertise: "a" is not an endpoint; give HOST:PORT'],
    [['serve', '--advertise', 'a'], '--advertise: "a" is not a URL at which others reach this API server'],
    [['gateway', '--alias', 'a'], '--alias: "a" is not an alias; give NAME=MODEL'],
    [
      ['register', '--id', 'r', '--endpoint', '0.0.0.0:1', '--cap', 'a=1'],
      'it means every address of its own machine, and other machines cannot call it; give a host name or one address',
    ],
    [
      ['register', '--id', 'r', '--endpoint', 'a:1', '--cap', '{"a":'],
      '--cap {"a":: invalid JSON at character 5: Expecting value',
    ],
    [['infer'], 'missing MODEL: give the name of a model, such as chat'],
    [['infer', 'x', '--input', 'a=hello'], '--input a=hello: invalid JSON at character 0: Expecting value'],
    [['infer', 'x', '--input', 'a'], '--input a: give NAME=JSON, NAME:DATATYPE[SHAPE]=JSON or NAME:DATATYPE=@FILE'],
    [['infer', 'x', '--input', 'a:FP32[3]=[1,2]'], 'input "a": shape [3] needs 3 elements, but the data has 2'],
    [['infer', 'x', '--input', 'a:FLOAT=[1]'], 'input "a": "FLOAT" is not a datatype such as FP32 or FP32[2,3]'],
    [['infer', 'x', '--input', 'a=[1]', '--input', 'a=[1]'], 'input "a" is given twice'],
    [
      ['infer', 'x', '--input', 'a:UINT8=@/no/such/file'],
      '--input a:UINT8=@/no/such/file: cannot read /no/such/file: no such file or directory\n',
    ],
    [['infer', 'x', '--inputs', '{"a":[1]}'], 'FILE is the name of a file, not JSON; pipe JSON to --inputs -'],
    [['infer', 'x', '--input', 'a:fp32=[1]'], 'input "a": "fp32" is not a datatype such as FP32 or FP32[2,3]'],
    [['infer', 'x', '--input', 'a:FP32[2=[1,2]'], 'input "a": "FP32[2" is not a datatype'],
    [
      ['infer', 'x', '--param', 'n=99999999999999999999999'],
      'parameter "n" is not a boolean, a string or a number of at most 64 bits',
    ],
    [['infer', 'x', '--max-message-bytes', 'abc'], '--max-message-bytes "abc": give a whole number from 1024'],
    [['infer', 'x', '--endpoint', 'http://x:1'], '"http://x:1" is the URL of an HTTP server'],
    [
      ['worker'],
      'no models to serve: give a MODULE that declares models, --openai URL, --llama FILE, or --backend echo for a test',
    ],
    [['worker', '--backend', 'gpt'], 'unknown backend "gpt"; the only one is "echo"'],
    [['worker', './no-such-module.js'], 'file not found: ./no-such-module.js'],
    [['worker', '--backend', 'echo', '--host', '0.0.0.0'], 'give a host name or one address'],
  ])('anyserve %j is one line that says what to do', async (args, words) => {
    const { code, stdout, stderr } = await run(args);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^anyserve: .*\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  it.each([
    [['rout', '--json'], 2, 'usage', 'unknown command "rout"; did you mean route?'],
    [['--json', 'rout'], 2, 'usage', 'unknown command "rout"; did you mean route?'],
    [['--json', '--sever', 'x'], 2, 'usage', 'missing COMMAND: give it before its options; see anyserve --help'],
    [
      ['--json', 'registry', '--server', NOWHERE],
      4,
      'server_unreachable',
      `cannot reach the API server ${NOWHERE}: nothing listens there; is "anyserve serve" running?`,
    ],
    [['rout', '--json=true'], 2, 'usage', 'unknown command "rout"; did you mean route?'],
    [['route', '--json', '--sever', 'x'], 2, 'usage', 'anyserve route has no option --sever; did you mean --server?'],
    [
      ['route', 'x=1', '--json', '--server', NOWHERE],
      4,
      'server_unreachable',
      `cannot reach the API server ${NOWHERE}`,
    ],
    [
      ['infer', 'x', 'y', '--json', '--endpoint', '127.0.0.1:1'],
      5,
      'unavailable',
      '127.0.0.1:1: nothing listens there',
    ],
    [['worker', '/no/such.js', '--json'], 2, 'usage', 'file not found: /no/such.js'],
  ])('anyserve %j is an object on stderr, and nothing on stdout', async (args, exitCode, code, words) => {
    const outcome = await run(args);
    expect([outcome.code, outcome.stdout]).toEqual([exitCode, '']);
    const [line = '', ...others] = outcome.stderr.trimEnd().split('\n').reverse();
    expect(others).toEqual([]);
    expect(JSON.parse(line)).toEqual({ error: { code, message: expect.stringContaining(words) } });
  });

  it('puts the stack trace into the JSON object with --json and --debug', async () => {
    const { stderr } = await run(['route', 'chat', '--debug'], { env: { ANYSERVE_JSON: '1' } });
    expect(JSON.parse(stderr)).toEqual({
      error: { code: 'usage', message: expect.any(String), stack: expect.stringMatching(/\n {4}at /) },
    });
  });

  it('shows the stack trace with --debug', async () => {
    expect((await run(['route', 'chat', '--debug'])).stderr).toMatch(/\n {4}at /);
    expect((await run(['route', 'chat'], { env: { ANYSERVE_DEBUG: '1' } })).stderr).toMatch(/\n {4}at /);
    expect((await run(['route', 'chat'], { env: { ANYSERVE_DEBUG: '0' } })).stderr).not.toMatch(/\n {4}at /);
  });
});

describe('route and registry', () => {
  it('print a table for people and JSON for programs', async () => {
    await startRegistrant('r1', 'model=qwen2', 'model=llama,type=chat', '{"gpu":1,"tags":["a"]}');
    expect((await run(['registry', '--server', server])).stdout).toMatch(
      /^REPLICA {3}ENDPOINT {10}STATE {3}SINCE {3}SEEN {3}CAPABILITIES\nr1 {8}localhost:50051 {3}ready {3}\ds {6}\ds {5}model=qwen2; model=llama,type=chat; gpu=1,tags=\["a"\]\n$/,
    );
    expect((await run(['registry', '--server', server, '--json'])).stdout).toMatch(
      /^\{"replicas":\[\{"replica_id":"r1","endpoint":"localhost:50051","capabilities":\[\{"model":"qwen2"\},\{"model":"llama","type":"chat"\},\{"gpu":1,"tags":\["a"\]\}\],"state":"ready","since":[\d.]+,"lease":"\w{8}","peer":"127.0.0.1","ttl":9,"last_seen":[\d.]+,"instance":\{"id":"[\w-]+","seq":\d+\}\}\]\}\n$/,
    );
    expect((await run(['route', 'gpu=1', '--server', server])).stdout).toBe(
      'REPLICA   ENDPOINT\nr1        localhost:50051\n',
    );
    expect((await run(['route', 'gpu=1', '--json'], { env: { ANYSERVE_SERVER: server } })).stdout).toBe(
      '{"endpoint":"localhost:50051","replica_id":"r1"}\n',
    );
  });

  it('shows the load in columns if a replica reports it', async () => {
    await startRegistrant('r1', 'type=chat');
    const load = { running: 3, waiting: 12, limit: 4 };
    const registrant = await startCurlRegistrant(server, 'busy', { body: { load } });
    const { stdout } = await run(['registry', '--server', server]);
    expect(stdout.replaceAll(/ {2,}/g, '  ').replaceAll(/\b\ds\b/g, '<time>')).toBe(
      'REPLICA  ENDPOINT  STATE  SINCE  SEEN  RUNNING  WAITING  CAPABILITIES\n' +
        'r1  localhost:50051  ready  <time>  <time>  -  -  type=chat\n' +
        'busy  busy.test:1  ready  <time>  <time>  3  12  type=chat\n',
    );
    await registrant.stop();
  });

  it('list a replica without capabilities, which no query matches', async () => {
    const registrant = await startCurlRegistrant(server, 'empty', { body: { capabilities: [] } });
    expect((await run(['registry', '--server', server])).stdout).toMatch(/^empty /m);
    expect((await run(['registry', 'type=chat', '--server', server])).code).toBe(3);
    await registrant.stop();
  });

  it('end with 3 when nothing matches', async () => {
    const none = await run(['route', 'model=x', '--server', server]);
    expect(none).toEqual({
      code: 3,
      stdout: '',
      stderr: 'anyserve: no replica offers {"model":"x"}; no replica is registered\n',
    });
    await startRegistrant('r1', 'model=y');
    const other = await run(['route', 'model=x', '--server', server]);
    expect(other).toMatchObject({
      code: 3,
      stderr: 'anyserve: no replica offers {"model":"x"}; 1 replica is registered, show it with "anyserve registry"\n',
    });
    expect((await run(['registry', 'model=x', '--server', server])).code).toBe(3);
    expect((await run(['registry', 'model=y', '--server', server])).code).toBe(0);
  });

  it('end with 4 when the server cannot be reached', async () => {
    for (const command of ['route', 'registry']) {
      const { code, stderr } = await run([command, '--server', NOWHERE]);
      expect(code).toBe(4);
      expect(stderr).toBe(
        `anyserve: cannot reach the API server ${NOWHERE}: nothing listens there; is "anyserve serve" running?\n`,
      );
    }
  });

  it('fail over to the next server, and ignore a closed pipe', async () => {
    await startRegistrant('r1', 'model=y');
    expect((await run(['route', '--server', NOWHERE, '--server', server])).code).toBe(0);
    const piped = spawnSync('bash', [
      '-o',
      'pipefail',
      '-c',
      `"${process.execPath}" "${BINARY}" registry --server ${server} | true`,
    ]);
    expect([piped.status, piped.stderr.toString()]).toEqual([0, '']);
  });

  it('deliver all output to a slow reader', () => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
    writeFileSync(join(folder, 'large.json'), JSON.stringify({ x: Array.from({ length: 200_000 }, (_, n) => n) }));
    const late = `"${process.execPath}" "${BINARY}" infer chat --inputs "${folder}/large.json" --json --server ${server} | (sleep 1; wc -c)`;
    const worker = spawnSync(
      'bash',
      [
        '-c',
        `"${process.execPath}" "${BINARY}" worker --backend echo --cap type=chat --port 0 --server ${server} & until "${process.execPath}" "${BINARY}" route type=chat --server ${server} >/dev/null 2>&1; do :; done; ${late}; kill $!; wait`,
      ],
      { encoding: 'utf8' },
    );
    expect(Number(/^(\d+)$/m.exec(worker.stdout)?.[1])).toBeGreaterThan(1_000_000);
  });

  it('report a failure through the exit code when nobody reads it, and report failed writes', async () => {
    const piped = (line: string) =>
      spawnSync('bash', ['-o', 'pipefail', '-c', `"${process.execPath}" "${BINARY}" ${line}`]);
    expect(piped(`route x=1 --server ${server} 2>&1 | true`).status).toBe(3);
    const full = piped(`registry --json --server ${server} >/dev/full`);
    expect(full.status).toBe(1);
    expect(full.stderr.toString()).toMatch(/^anyserve: cannot write to standard output: .*ENOSPC.*$/m);
  });

  it('escape control characters', async () => {
    await startRegistrant('evil\u001b[2J', 'a=\u202e');
    const { stdout } = await run(['registry', '--server', server]);
    expect(stdout).toContain('evil\\u001b[2J');
    expect(stdout).toContain('a=\\u202e');
  });
});

describe('register', () => {
  it('releases the lease on Ctrl-C and on SIGTERM', async () => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 0],
    ] as const) {
      const held = await startRegistrant('r1', 'a=1');
      const ended = await held.stop(signal);
      expect(ended).toMatchObject({
        code,
        stdout: `registered r1 (localhost:50051) with ${server}\nunregistered r1\n`,
      });
      expect(await countRegistered()).toBe(0);
    }
  });

  it('registers again when the server has restarted', async () => {
    const port = String(await findFreePort());
    const first = start(['serve', '--port', port]);
    const url = await first.waitForOutput(/listening on (http:\S+)/);
    const held = start(['register', '--id', 'r1', '--endpoint', 'a:1', '--cap', 'a=1', '--server', url, '--json']);
    extras.push(first, held);
    await held.waitForOutput(/"state":"registered"/);
    await first.stop('SIGKILL');
    await held.waitForOutput(/"state":"lost"/);
    extras.push(start(['serve', '--port', port]));
    await held.waitForOutput(/"registered".*\n.*"registered"|"registered"[\s\S]*"lost"[\s\S]*"registered"/);
  });

  it('does not take the id back when another process takes it over', async () => {
    const older = await startRegistrant('r1', 'who=older');
    const newer = await startRegistrant('r1', 'who=newer');
    await older.waitForOutput(/superseded r1: another process registered it/);
    const { stdout } = await run(['route', 'who=newer', '--server', server]);
    expect(stdout).toContain('r1');
    await older.stop();
    expect((await run(['route', 'who=newer', '--server', server])).code).toBe(0);
    await newer.stop();
  });

  it('reads its options from the environment', async () => {
    const env = {
      ANYSERVE_SERVER: `${NOWHERE} ${server}`,
      ANYSERVE_ID: 'r1',
      ANYSERVE_ENDPOINT: 'a:1',
      ANYSERVE_CAP: '{"gpu": 1}\ntype=chat',
    };
    const held = start(['register'], { env });
    extras.push(held);
    await held.waitForOutput(/^registered r1/m);
    expect((await run(['registry', '--server', server])).stdout).toContain('gpu=1; type=chat');
  });

  it('keeps trying while there is no server', async () => {
    const held = start(['register', '--id', 'r1', '--endpoint', 'a:1', '--cap', 'a=1', '--server', NOWHERE]);
    extras.push(held);
    await held.waitForOutput(/unregistered r1: cannot reach the API server .*; retrying in \d\.\d s\n[\s\S]*retrying/);
    expect((await held.stop('SIGINT')).code).toBe(130);
  });
});

describe('serve', () => {
  it('names the variable that holds an invalid option', async () => {
    const env = { ANYSERVE_PORT: 'tcp://10.0.0.1:8080' };
    const problem = (port: string) => `anyserve: --port "${port}": give a whole number from 0 to 65535`;
    const outcome = { code: 2, stderr: `${problem('tcp://10.0.0.1:8080')} (set by ANYSERVE_PORT)\n` };
    expect(await run(['serve'], { env })).toMatchObject(outcome);
    expect(await run(['serve', '--port', 'x'], { env })).toMatchObject({ code: 2, stderr: `${problem('x')}\n` });
  });

  it('ends cleanly with streams attached', async () => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 0],
    ] as const) {
      const own = start(['serve', '--port', '0']);
      const url = await own.waitForOutput(/listening on (http:\S+)/);
      const stream = await fetch(`${url}/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"replica_id":"r1","endpoint":"a:1","capabilities":[{}]}',
      });
      const ended = await own.stop(signal);
      expect(ended.code).toBe(code);
      expect(ended.stderr).toContain('removed "r1": shutdown');
      expect(await stream.text()).toContain('registered');
    }
  });

  it('keeps running when nobody reads its log anymore', async () => {
    const own = start(['serve', '--port', '0']);
    const url = await own.waitForOutput(/listening on (http:\S+)/);
    own.child.stderr?.destroy();
    for (const id of ['r1', 'r2']) {
      const stream = await fetch(`${url}/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: `{"replica_id":"${id}","endpoint":"a:1","capabilities":[{}]}`,
      });
      expect(stream.status).toBe(200);
    }
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect((await own.stop()).code).toBe(0);
  });

  it('reports in one line what to do when the port is in use', async () => {
    const { port } = new URL(server);
    expect(await run(['serve', '--port', port])).toEqual({
      code: 1,
      stdout: '',
      stderr: `anyserve: 127.0.0.1:${port} is already in use: stop the other process, or choose another port with --port (0 picks a free one)\n`,
    });
  });
});

describe('a time of 0', () => {
  it.each(['0', '0s', '0ms', '0.0m'])('%s is accepted for each option that takes a time', async (zero) => {
    const own = start(['serve', '--port', '0', '--drain', zero, '--warming', zero, '--ack-timeout', zero]);
    extras.push(own);
    const url = await own.waitForOutput(/listening on (http:\S+)/);
    const worker = start(
      [
        'worker',
        '--backend',
        'echo',
        '--cap',
        'type=chat',
        '--port',
        '0',
        '--drain-delay',
        zero,
        '--drain-timeout',
        zero,
      ],
      { env: { ANYSERVE_SERVER: url } },
    );
    extras.push(worker);
    await worker.waitForOutput(/^registered/m);
    expect((await run(['route', 'type=chat', '--wait', zero, '--server', url])).code).toBe(0);
    const late = await run(['infer', 'chat', 'Hello', '--timeout', zero, '--server', url]);
    expect(late).toEqual({ code: 5, stdout: '', stderr: expect.stringMatching(/^anyserve: .* 0ms; .*--timeout.*\n$/) });
    expect((await worker.stop()).code).toBe(0);
    const program = ['register', '--id', 'r', '--endpoint', 'localhost:1', '--cap', 'a=1', '--drain-timeout', zero];
    const stuck = start([...program, '--server', url, '--', 'sh', '-c', 'trap "" TERM; echo up; sleep 60; sleep 60']);
    extras.push(stuck);
    await stuck.waitForOutput(/up/);
    expect((await stuck.stop()).code).toBe(137);
    expect((await own.stop()).code).toBe(0);
  });
});

describe('infer', () => {
  it('prints texts unchanged, tensors as a table, and everything as JSON', async () => {
    await startEchoWorker('--cap', 'type=chat,model=tiny', '--id', 'w1');
    const at = ['--server', server];
    expect(await run(['infer', 'chat', '--prompt', 'Hello', ...at])).toEqual({
      code: 0,
      stdout: 'Hello\n',
      stderr: '',
    });
    expect((await run(['infer', 'tiny', '--prompt', '-', ...at], { input: 'from stdin' })).stdout).toBe('from stdin\n');
    expect((await run(['infer', 'tiny', 'Hello there', ...at])).stdout).toBe('Hello there\n');
    expect((await run(['infer', 'tiny', '-', ...at], { input: 'from stdin' })).stdout).toBe('from stdin\n');
    expect((await run(['infer', 'tiny', ...at, '--', '--hello'])).stdout).toBe('--hello\n');
    expect((await run(['infer', 'tiny', '', ...at])).stdout).toBe('\n');
    expect((await run(['infer', 'chat', '--prompt', 'Hello', '--stream', ...at])).stdout).toBe('Hello\n');
    const table = await run(['infer', 'chat', '--input', 'a:FP32[2,2]=[[1,2],[3,4.5]]', '--input', 'b=["x"]', ...at]);
    expect(table.stdout).toBe(
      'OUTPUT   DATATYPE    DATA\na        FP32[2,2]   1, 2, 3, 4.5\nb        BYTES[1]    "x"\n',
    );
    const json = await run(
      ['infer', 'chat', '--input', 'n:INT64=[9007199254740993]', '--input', 'x:UINT8=@-', '--json', ...at],
      {
        input: Buffer.from([0, 255]),
      },
    );
    expect(json.stdout).toMatch(
      /^\{"model_name":"chat","outputs":\[\{"name":"n","datatype":"INT64","shape":\[1\],"data":\[9007199254740993\]\},\{"name":"x","datatype":"UINT8","shape":\[2\],"data":\[0,255\]\}\],"replica":\{"replica_id":"w1","endpoint":"127.0.0.1:\d+"\},"latency_ms":\{"total":\d+(\.\d)?\}\}\n$/,
    );
  });

  it('reads inputs from a file, by name or in the form of the REST protocol', async () => {
    const worker = await startEchoWorker('--cap', 'type=chat');
    const endpoint = await worker.waitForOutput(/serving on (\S+)/);
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
    writeFileSync(join(folder, 'named.json'), '{"a":[1,2],"b":["x"]}');
    writeFileSync(join(folder, 'rest.json'), '{"inputs":[{"name":"a","datatype":"FP64","shape":[1,2],"data":[1,2]}]}');
    const named = await run(['infer', 'chat', '--inputs', join(folder, 'named.json'), '--endpoint', endpoint]);
    expect(named.stdout).toContain('INT32[2]   1, 2');
    const rest = await run(['infer', 'chat', '--inputs', join(folder, 'rest.json'), '--endpoint', endpoint]);
    expect(rest.stdout).toContain('FP64[1,2]   1, 2');
  });

  it('fails over to another replica when one has died, and reports it', async () => {
    await startRegistrant('dead', 'type=chat');
    const alive = await startEchoWorker('--cap', 'type=chat', '--id', 'alive');
    let told = 0;
    for (let n = 0; n < 8 || (told === 0 && n < 40); n++) {
      const { code, stdout, stderr } = await run(['infer', 'chat', '--prompt', 'Hi', '--server', server]);
      expect([code, stdout]).toEqual([0, 'Hi\n']);
      if (stderr !== '') told++;
      expect(stderr).toMatch(/^$|^replica "dead" failed \(localhost:50051: .*\); retrying on "\w+"\n$/);
    }
    expect(told).toBeGreaterThan(0);
    await alive.stop();
    const { code, stderr } = await run(['infer', 'chat', '--prompt', 'Hi', '--server', server]);
    expect(code).toBe(5);
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(/^anyserve: localhost:50051: .*nothing listens there.*$/);
  });

  it('reports what a file lacks, and sends everything it contains', async () => {
    const worker = await startEchoWorker('--cap', 'type=chat');
    const endpoint = await worker.waitForOutput(/serving on (\S+)/);
    const send = (text: string) =>
      run(['infer', 'chat', '--inputs', '-', '--endpoint', endpoint, '--json'], { input: text });
    const a = '{"name":"a","datatype":"FP32","shape":[2],"data":[1,2]}';
    const response = await send(`{"id":"q1","inputs":[${a},${a.replace('"a"', '"b"')}],"outputs":[{"name":"b"}]}`);
    expect(response.stdout).toContain(
      '{"model_name":"chat","id":"q1","outputs":[{"name":"b","datatype":"FP32","shape":[2],"data":[1,2]}],"replica":',
    );
    for (const field of ['datatype', 'shape', 'data']) {
      const { code, stderr } = await send(`{"inputs":[${a.replace(`"${field}"`, '"other"')}]}`);
      const message = `--inputs -: input "a" has no ${field}`;
      expect([code, JSON.parse(stderr)]).toEqual([2, { error: { code: 'usage', message } }]);
    }
  });

  it('ends on Ctrl-C while it waits for input, and when nobody reads its output', async () => {
    const waiting = start(['infer', 'chat', '--prompt', '-', '--endpoint', '127.0.0.1:1']);
    extras.push(waiting);
    // More than the buffer of a pipe holds, so that writing blocks until somebody reads.
    await new Promise((resolve) => waiting.child.stdin?.write('x'.repeat(2_000_000), resolve));
    expect(await waiting.stop('SIGINT')).toMatchObject({ code: 130, stderr: 'anyserve: interrupted\n' });
    const worker = await startAndWait(
      /^registered/m,
      'worker',
      writeModule(
        'endless.mjs',
        `export default (app) => app.capability({ type: 'endless' }, async function* () {
      for (;;) { yield { text: ['x'.repeat(10000) + '\\n'] }; await new Promise((resolve) => setTimeout(resolve)); }
    });`,
      ),
      '--port',
      '0',
    );
    const piped = spawnSync('bash', [
      '-o',
      'pipefail',
      '-c',
      `"${process.execPath}" "${BINARY}" infer endless --stream --server ${server} | head -3 | wc -l`,
    ]);
    expect([piped.status, piped.stdout.toString().trim(), piped.stderr.toString()]).toEqual([0, '3', '']);
    await worker.stop();
  });

  it('has an exit code for each kind of failure', async () => {
    expect(await run(['infer', 'nope', '--prompt', 'x', '--server', server])).toMatchObject({
      code: 3,
      stderr: 'anyserve: no replica offers {"type":"nope"} or {"model":"nope"}; no replica is registered\n',
    });
    expect((await run(['infer', 'nope', '--prompt', 'x', '--server', NOWHERE])).code).toBe(4);
    expect((await run(['infer', 'nope', '--prompt', 'x', '--endpoint', '127.0.0.1:1'])).code).toBe(5);
    expect(
      (await run(['infer', 'nope', '--prompt', 'x', '--endpoint', server.replace('http://', ''), '--timeout', '5s']))
        .code,
    ).toBe(5);
  });
});

describe('worker', () => {
  it('serves a module, and finishes calls in progress when it stops', async () => {
    const path = writeModule(
      'slow.mjs',
      `export default (app) => app.capability({ type: 'slow' }, async () => {
         const signal = new Promise((resolve) => process.once('SIGUSR2', resolve));
         console.log('reached');
         await signal;
         return { done: ['yes'] };
       });`,
    );
    const worker = await startAndWait(/^registered/m, 'worker', path, '--port', '0');
    const call = run(['infer', 'slow', '--server', server, '--no-retry']);
    await worker.waitForOutput(/reached/);
    const stopped = worker.stop();
    await until('it is no longer listed', async () => (await countRegistered()) === 0);
    worker.child.kill('SIGUSR2');
    expect(await call).toEqual({ code: 0, stdout: 'yes\n', stderr: '' });
    expect((await stopped).code).toBe(0);
  });

  it.each([
    ['empty.mjs', '', 'declares no model; its default export must be a function'],
    ['nothing.mjs', 'export default () => {}', 'declares no model'],
    ['throws.mjs', '\nthrow new Error("no GPU here")', 'throws.mjs:2)'],
    ['calls-nothing.mjs', 'export default (app) => {\n  app.missing();\n}', 'calls-nothing.mjs:2)'],
    ['throws.cjs', '\n\nthrow new Error("no GPU here")', 'throws.cjs:3)'],
    [
      'declares-badly.mjs',
      'export default (app) => app.capability({ gpu: 1 }, () => ({}))',
      `has no "type" or "model" that could be its model's name`,
    ],
    ['syntax.mjs', 'export default (', 'cannot load'],
    ['imports.mjs', 'import "no-such-package"', 'no-such-package'],
    ['throws-nothing.mjs', 'throw null', 'cannot load'],
    [
      'no-handler.mjs',
      'export default (app) => app.capability({ type: "x" })',
      'capability {"type":"x"} has no handler',
    ],
  ])('says what is wrong with %s', async (name, text, words) => {
    const { code, stderr } = await run(['worker', writeModule(name, text), '--port', '0', '--no-register']);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^anyserve: .*\n$/);
    expect(code).toBe(2);
  });

  const RENAME = 'it uses "import" or "export" but is loaded as CommonJS; rename the file to .mjs';
  const ES_MODULE = `export default (app) => app.capability({ type: 'x' }, () => ({ ok: ['yes'] }));`;

  it.each<[string, string, string, string | undefined]>([
    ['es.js', ES_MODULE, `${RENAME}, or set "type": "module" in its package.json`, 'commonjs'],
    ['es.cjs', ES_MODULE, RENAME, undefined],
    ['imports.js', `import 'node:fs'; ${ES_MODULE}`, RENAME, 'commonjs'],
    ['meta.js', 'module.exports = () => import.meta.url', RENAME, 'commonjs'],
    [
      'outer.mjs',
      `import './es.js'; ${ES_MODULE}`,
      'es.js uses "import" or "export" but is loaded as CommonJS',
      'commonjs',
    ],
    ['common.js', 'module.exports = () => {}', `it uses "module", which ES modules don't have`, 'module'],
    ['requires.mjs', `require('fs'); ${ES_MODULE}`, `it uses "require", which ES modules don't have`, undefined],
    [
      'missing.mjs',
      "import 'no-such/part'",
      'package "no-such" not found; install it next to the module: npm install no-such',
      undefined,
    ],
    ['missing.cjs', "require('@no/such/part')", 'npm install @no/such', undefined],
    [
      'text.txt',
      ES_MODULE,
      '".txt" is not a file extension of modules; specify a .js, .mjs, .cjs, .ts or .mts file',
      undefined,
    ],
    ['data.json', '{}', '".json" is not a file extension of modules', undefined],
    [
      'class.mjs',
      'export default class X {}',
      'declares no model; its default export must be a function: (app) => app.capability({ type: "multiply" }, handler); it is a class',
      undefined,
    ],
    ['number.mjs', 'export default 42', '; it is a number', undefined],
    ['named.mjs', 'export const models = 1', '; it has no default export', undefined],
    ['lines.mjs', 'throw new Error("no GPU\\nhere")', 'no GPU here', undefined],
    ['parses.mjs', 'export default (app) => {\n  app.(\n}', "Unexpected token '('", undefined],
  ])('reports in one line what to do about %s', async (name, text, words, type) => {
    const path = writeModule(name, text);
    writeFileSync(join(dirname(path), 'es.js'), ES_MODULE);
    if (type !== undefined) writeFileSync(join(dirname(path), 'package.json'), JSON.stringify({ type }));
    const { code, stdout, stderr } = await run(['worker', path, '--port', '0', '--no-register']);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^anyserve: [^\n]*\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('reports that a directory is not a module', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
    const { stderr } = await run(['worker', folder, '--no-register']);
    expect(stderr).toBe(`anyserve: ${folder} is a directory; specify the file of a module\n`);
  });

  it('ends although a module leaves timers running, and survives its unhandled rejections', async () => {
    const path = writeModule(
      'untidy.mjs',
      `setInterval(() => {}, 1000);
       export default (app) => app.capability({ type: 'untidy' }, () => {
         Promise.reject(new Error('left behind'));
         return { ok: ['yes'] };
       });`,
    );
    const worker = await startAndWait(/^registered/m, 'worker', path, '--port', '0');
    expect((await run(['infer', 'untidy', '--server', server])).stdout).toBe('yes\n');
    expect((await run(['infer', 'untidy', '--server', server])).stdout).toBe('yes\n');
    expect(worker.stderr()).toContain('unhandled promise rejection in a module: left behind');
    expect((await worker.stop()).code).toBe(0);
  });

  it('accepts calls for a while after it has left the list, so that callers that have just found it succeed', async () => {
    const worker = start(['worker', '--backend', 'echo', '--port', '0', '--server', server], {
      env: { ANYSERVE_DRAIN_DELAY: '1h' },
    });
    extras.push(worker);
    await worker.waitForOutput(/^registered/m);
    const endpoint = await worker.waitForOutput(/^serving on (\S+)/m);
    const stopped = worker.stop('SIGTERM');
    await until('it is no longer listed', async () => (await countRegistered()) === 0);
    expect(await run(['infer', 'echo', '--prompt', 'late', '--endpoint', endpoint])).toMatchObject({
      stdout: 'late\n',
    });
    worker.child.kill('SIGTERM');
    expect((await stopped).code).toBe(0);
  });

  it('ends at once on a second signal, even with calls in progress', async () => {
    const path = writeModule(
      'stuck.mjs',
      `export default (app) => app.capability({ type: 'stuck' }, () => new Promise((resolve) => { console.log('reached'); setTimeout(resolve, 60_000); }));`,
    );
    const worker = await startAndWait(/^registered/m, 'worker', path, '--port', '0');
    const call = run(['infer', 'stuck', '--server', server, '--no-retry']);
    await worker.waitForOutput(/reached/);
    worker.child.kill('SIGTERM');
    await until('it is no longer listed', async () => (await countRegistered()) === 0);
    expect((await worker.stop('SIGTERM')).code).toBe(0);
    expect((await call).code).toBe(5);
  });

  it('ends on a signal while its module is loading', async () => {
    const loading = start([
      'worker',
      writeModule(
        'loading.mjs',
        'console.log("loading"); setInterval(() => {}, 1000); export default () => new Promise(() => {});',
      ),
      '--no-register',
    ]);
    extras.push(loading);
    await loading.waitForOutput(/loading/);
    expect((await loading.stop('SIGINT')).code).toBe(130);
  });

  it('reports that its module can never finish loading', async () => {
    const { code, stderr } = await run([
      'worker',
      writeModule('stuck.mjs', 'await new Promise(() => {});'),
      '--no-register',
    ]);
    expect([code, stderr]).toEqual([
      1,
      'anyserve: the process has nothing left to do; does the module await a promise that never settles?\n',
    ]);
  });

  it('loads TypeScript where Node.js can, and otherwise reports what to do', async () => {
    const path = writeModule(
      'typed.ts',
      `export default (app: any) => app.capability({ type: 'typed' }, () => ({ ok: ['yes'] }));`,
    );
    const started = start(['worker', path, '--port', '0', '--server', server]);
    extras.push(started);
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
    if (major > 22 || (major === 22 && minor >= 18)) {
      await started.waitForOutput(/registered/);
      expect((await run(['infer', 'typed', '--server', server])).stdout).toBe('yes\n');
    } else {
      const { code, stderr } = await started.ended;
      expect(stderr).toContain('install tsx next to it (npm install tsx), or use Node 22.18 or newer');
      expect(code).toBe(2);
    }
  });

  it('loads TypeScript through tsx where that is installed', async () => {
    const path = writeModule(
      'with-tsx.mts',
      `enum Answer { yes = 'yes' }\nexport default (app: any) => app.capability({ type: 'typed' }, () => ({ ok: [Answer.yes] }));`,
    );
    symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(dirname(path), 'node_modules'));
    await startAndWait(/^registered/m, 'worker', path, '--port', '0');
    expect((await run(['infer', 'typed', '--server', server])).stdout).toBe('yes\n');
    const plain = writeModule(
      'with-tsx.ts',
      `export default (app: any) => app.capability({ type: 'plain' }, () => ({ ok: ['yes'] }));`,
    );
    symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(dirname(plain), 'node_modules'));
    await startAndWait(/^registered/m, 'worker', plain, '--port', '0');
    expect((await run(['infer', 'plain', '--server', server])).stdout).toBe('yes\n');
  });

  it('reports in one line what to do when the port is in use', async () => {
    const worker = await startEchoWorker();
    const port = (await worker.waitForOutput(/serving on \S+:(\d+)/)) as string;
    const { code, stderr } = await run(['worker', '--backend', 'echo', '--port', port, '--no-register']);
    expect([code, stderr]).toEqual([
      1,
      `anyserve: 127.0.0.1:${port} is taken by another process; stop that one, or choose a port with --port (0 picks a free one)\n`,
    ]);
  });
});
