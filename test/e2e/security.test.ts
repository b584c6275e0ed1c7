import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, type Running, run, start, stopAll } from '../support/binary.js';
import { createAuthority } from '../support/certificates.js';
import { until } from '../support/until.js';

const WRITER = 's3cret-writer';
const READER = 's3cret-reader';
const CALLER = 's3cret-caller';
const WRONG = 's3cret-wrong';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
const authority = createAuthority();
const otherAuthority = createAuthority('other');
const [serverCert, workerCert, clientCert] = ['server', 'worker', 'client'].map((name) => authority.sign(name));

function writeFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const writerFile = writeFile('writer', `${WRITER}\n`);
const readerFile = writeFile('reader', READER);
const callerFile = writeFile('caller', CALLER);
const wrongFile = writeFile('wrong', WRONG);
const AT_SERVER = [
  '--tls-ca',
  authority.certFile,
  '--tls-cert',
  clientCert?.certFile ?? '',
  '--tls-key',
  clientCert?.keyFile ?? '',
];

afterAll(stopAll);

/** Starts a command, and waits until its output matches. */
async function startAndWait(pattern: RegExp, ...args: string[]): Promise<Running> {
  const process = start(args);
  await process.waitForOutput(pattern);
  return process;
}

/** Returns everything that others can see of a process: its output and its command line. */
function getVisibleText({ child, stdout, stderr }: Running): string {
  const commandLine = `/proc/${child.pid}/cmdline`;
  return `${stdout()}${stderr()}${existsSync(commandLine) ? readFileSync(commandLine, 'utf8') : ''}`;
}

function runCurl(...args: string[]): Promise<{ readonly code: number; readonly text: string }> {
  return new Promise((resolve) => {
    execFile('curl', ['-sS', '-i', '--max-time', '10', ...args], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), text: `${stdout}${stderr}` }),
    );
  });
}

const getLine = ({ stderr }: Outcome): string => stderr.trimEnd();

describe('an API server and a worker with TLS and tokens', () => {
  let api: Running;
  let worker: Running;
  let url: string;
  let endpoint: string;
  let tokens: string;

  beforeAll(async () => {
    tokens = writeFile('tokens', `# writers\n${WRITER}\nother gpu-\n`);
    const cert = ['--tls-cert', serverCert?.certFile ?? '', '--tls-key', serverCert?.keyFile ?? ''];
    api = await startAndWait(
      /listening/,
      ...['serve', '--port', '0', '--register-token-file', tokens, '--read-token-file', readerFile],
      ...[...cert, '--tls-ca', authority.certFile],
    );
    url = await api.waitForOutput(/listening on (https:\S+)/);
    worker = await startAndWait(
      /^registered/m,
      ...['worker', '--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--id', 'w1', '--server', url],
      ...['--token-file', writerFile, '--call-token-file', callerFile],
      ...AT_SERVER.map((word) => word.replace('--tls', '--server-tls')),
      ...['--tls-cert', workerCert?.certFile ?? '', '--tls-key', workerCert?.keyFile ?? ''],
      ...['--tls-ca', authority.certFile],
    );
    endpoint = await worker.waitForOutput(/serving on (\S+)/);
  });

  const runAtServer = (...args: string[]): Promise<Outcome> => run([...args, '--server', url, ...AT_SERVER]);
  const runInfer = (...args: string[]): Promise<Outcome> =>
    runAtServer('infer', 'chat', '--prompt', 'Hello', '--token-file', readerFile, ...args);

  it('serve clients with valid credentials, and print nothing else', async () => {
    expect(await runAtServer('route', 'type=chat', '--json', '--token-file', readerFile)).toEqual({
      code: 0,
      stdout: `${JSON.stringify({ endpoint, replica_id: 'w1' })}\n`,
      stderr: '',
    });
    expect((await runAtServer('registry', '--token-file', writerFile)).stdout).toContain('w1');
    expect(await runInfer('--call-token-file', callerFile)).toEqual({ code: 0, stdout: 'Hello\n', stderr: '' });
    const env = { ANYSERVE_TOKEN: READER, ANYSERVE_CALL_TOKEN: CALLER };
    const inferring = ['infer', 'chat', '--prompt', 'Hello', '--server', url, ...AT_SERVER];
    expect(await run(inferring, { env })).toEqual({ code: 0, stdout: 'Hello\n', stderr: '' });
    const talking = ['chat', 'chat', '--server', url, ...AT_SERVER];
    expect(await run(talking, { env, input: 'Hello\n' })).toMatchObject({ code: 0, stderr: '' });
    const direct = ['infer', 'chat', '--prompt', 'Hello', '--endpoint', endpoint, ...AT_SERVER];
    expect(await run(direct, { env })).toEqual({ code: 0, stdout: 'Hello\n', stderr: '' });
  });

  it('refuse others with one line that says what to do and does not contain the token', async () => {
    const outcomes = await Promise.all([
      runAtServer('registry'),
      runAtServer('registry', '--token-file', wrongFile),
      runAtServer('register', '--id', 'r1', '--endpoint', 'localhost:1', '--cap', 'a=1', '--token-file', readerFile),
      runInfer(),
      runInfer('--call-token-file', wrongFile),
      run(['registry', '--server', url, '--token-file', readerFile, '--tls-ca', authority.certFile]),
      run(['registry', '--server', url, '--token-file', readerFile]),
      runInfer('--call-token-file', callerFile, '--no-call-tls'),
    ]);
    expect(outcomes.map(({ code, stdout }) => [code, stdout])).toEqual(
      [1, 1, 1, 5, 5, 4, 4, 5].map((code) => [code, '']),
    );
    const said = outcomes.map(getLine);
    expect(said[0]).toContain('this request needs a read token or a register token');
    expect(said[0]).toContain('give a token that has this permission with --token-file or in ANYSERVE_TOKEN');
    expect(said[1]).toContain('unknown token');
    expect(said[2]).toContain('this request needs a register token');
    expect(said[3]).toContain('call token required (authorization: Bearer TOKEN)');
    expect(said[4]).toContain('unknown call token; set one with --call-token-file or ANYSERVE_CALL_TOKEN');
    expect(said[5]).toMatch(/requires? a client certificate/);
    expect(said[6]).toContain('not signed by a trusted authority; give the authority with --tls-ca FILE');
    expect(said[7]).toContain('does it use TLS? see --tls');
    expect(said.filter((text) => text.includes('s3cret'))).toEqual([]);
    expect(said.slice(0, 7).filter((text) => text.includes('\n'))).toEqual([]);
  });

  it('respond to curl', async () => {
    const certificate = [
      '--cacert',
      authority.certFile,
      '--cert',
      clientCert?.certFile ?? '',
      '--key',
      clientCert?.keyFile ?? '',
    ];
    const formatBearer = (token: string): string[] => ['-H', `Authorization: Bearer ${token}`];
    const granted = await runCurl(...certificate, ...formatBearer(READER), `${url}/route?type=chat`);
    expect(granted.text).toContain(`{"endpoint":"${endpoint}","replica_id":"w1"}`);
    const refused = await runCurl(...certificate, `${url}/registry`);
    expect(refused.text).toMatch(/^HTTP\/1\.1 401 Unauthorized\r\n(.*\r\n)*www-authenticate: Bearer\r\n/i);
    expect((await runCurl(...certificate, `${url}/health`)).text).toContain('{"status":"healthy"}');
    const registering = [
      '-d',
      '{"replica_id":"c1","endpoint":"c:1","capabilities":[]}',
      '-H',
      'content-type: application/json',
    ];
    expect((await runCurl(...certificate, ...formatBearer('other'), ...registering, `${url}/register`)).text).toMatch(
      /^HTTP\/1\.1 403 [\s\S]*ids that begin with \\"gpu-\\"/,
    );
    expect((await runCurl('--cacert', authority.certFile, `${url}/health`)).code).not.toBe(0);
    expect((await runCurl(...certificate.slice(2), `${url}/health`)).code).toBe(60);
  });

  it('never use a partly written token', async () => {
    const certificate = ['--cacert', authority.certFile, '--cert', clientCert?.certFile ?? ''];
    const fetchStatus = async (token: string): Promise<string> => {
      const shown = ['--key', clientCert?.keyFile ?? '', '-H', `Authorization: Bearer ${token}`];
      return (await runCurl(...certificate, ...shown, `${url}/registry`)).text.slice(9, 12);
    };
    for (const half of [WRONG.slice(0, 9), WRONG, `${WRONG} g`]) {
      // Rewritten all the time, also during a slow request, so that the file never looks complete to the server.
      const timer = setInterval(() => writeFileSync(tokens, half), 50);
      for (const sinceMs = Date.now(); Date.now() - sinceMs < 1500; ) {
        expect(await fetchStatus(half.split(' ')[0] as string)).toBe('401');
      }
      clearInterval(timer);
    }
    writeFileSync(tokens, `${WRONG} gpu-\n`);
    await until('the complete token is accepted', async () => (await fetchStatus(WRONG)) === '200');
    const registering = ['register', '--id', 'x1', '--endpoint', 'localhost:1', '--cap', 'a=1'];
    expect((await runAtServer(...registering, '--token-file', wrongFile)).stderr).toContain(
      'ids that begin with "gpu-"',
    );
    writeFileSync(tokens, `# writers\n${WRITER}\nother gpu-\n`);
    await until('the old tokens are accepted again', async () => (await fetchStatus(WRITER)) === '200');
  });

  it('keep working when tokens and certificates change and when files become invalid', async () => {
    writeFileSync(tokens, '');
    await until('the invalid file is reported', () => api.stderr().includes('the previous content stays in use'));
    writeFileSync(tokens, 's3cret-next\n');
    const next = writeFile('next', 's3cret-next');
    await until(
      'the new token is accepted',
      async () => (await runAtServer('registry', '--token-file', next)).code === 0,
    );
    writeFileSync(writerFile, 's3cret-next\n');
    const changedAtS = Date.now() / 1000;
    await until('the worker has renewed its lease with the new one', async () => {
      const { replicas } = JSON.parse((await runAtServer('registry', '--json', '--token-file', next)).stdout);
      return replicas[0]?.last_seen > changedAtS;
    });
    const other = otherAuthority.sign('server');
    writeFileSync(serverCert?.certFile ?? '', other.cert);
    writeFileSync(serverCert?.keyFile ?? '', other.key);
    const shown = ['--cert', clientCert?.certFile ?? '', '--key', clientCert?.keyFile ?? ''];
    await until(
      'the new certificate is shown',
      async () => (await runCurl('--cacert', otherAuthority.certFile, ...shown, `${url}/health`)).code === 0,
    );
    expect(worker.child.exitCode).toBeNull();
  });

  it('warn once about tokens that can be guessed', () => {
    expect(api.stderr().match(/--register-token-file .* shorter than 16 characters/g)).toHaveLength(1);
  });

  it('show no token in their output or command lines', async () => {
    expect(`${getVisibleText(api)}${getVisibleText(worker)}`).not.toContain('s3cret');
    expect(getVisibleText(worker)).toContain('--call-token-file');
  });
});

describe('a server with tokens in variables', () => {
  const extras: Running[] = [];
  afterEach(async () => {
    for (const extra of extras.splice(0)) await extra.stop('SIGKILL');
  });

  it('uses them, and never prints them', async () => {
    const api = start(['serve', '--port', '0'], { env: { ANYSERVE_REGISTER_TOKEN: WRITER } });
    extras.push(api);
    const url = await api.waitForOutput(/listening on (\S+)/);
    const registering = ['register', '--id', 'r1', '--endpoint', 'localhost:1', '--cap', 'a=1', '--server', url];
    expect(await run(registering, { env: { ANYSERVE_TOKEN: WRONG } })).toMatchObject({ code: 1, stdout: '' });
    const kept = start(registering, { env: { ANYSERVE_TOKEN: WRITER } });
    extras.push(kept);
    await kept.waitForOutput(/registered r1/);
    expect((await run(['registry', '--server', url])).stdout).toContain('r1');
    expect(`${getVisibleText(api)}${getVisibleText(kept)}`).not.toContain('s3cret');
  });
});

describe('contradictory options', () => {
  it.each<[string[], NodeJS.ProcessEnv, string]>([
    [['serve'], { ANYSERVE_REGISTER_TOKEN: '' }, 'ANYSERVE_REGISTER_TOKEN is empty; set it to a token, or unset it'],
    [
      ['serve', '--read-token-file', '/no/such'],
      {},
      '--read-token-file: cannot read /no/such: no such file or directory',
    ],
    [['serve', '--read-token-file', writeFile('none', '# s3cret\n')], {}, 'it contains no token'],
    [['registry', '--token-file', writeFile('many', 's3cret a b')], {}, 'line 1 has more than a token and a prefix'],
    [['serve', '--tls-cert', authority.certFile], {}, '--tls-cert requires --tls-key FILE'],
    [['worker', '--backend', 'echo', '--tls-ca', authority.certFile], {}, '--tls-ca requires --tls-cert FILE'],
    [['registry', '--tls-ca', writeFile('pem', 'x')], {}, 'it is not PEM'],
    [
      ['serve', '--tls-cert', authority.certFile, '--tls-key', otherAuthority.keyFile],
      {},
      'the key does not match the certificate',
    ],
    [['infer', 'x', '--prompt', 'a', '--tls', '--no-call-tls'], {}, 'give --tls or --no-call-tls, not both'],
    [
      ['register', '--id', 'a', '--endpoint', 'a:1', '--cap', 'a=1', '--probe-tls'],
      {},
      '--probe-tls requires --probe grpc',
    ],
  ])('%j is wrong usage, in one line', async (args, env, message) => {
    const { code, stdout, stderr } = await run(args, { env });
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^anyserve: [^\n]*\n$/);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('s3cret');
  });
});

describe('sending a token', () => {
  it('to another machine in plain text causes a warning', async () => {
    const { code, stderr } = await run(['registry', '--server', 'http://no-such-host.invalid'], {
      env: { ANYSERVE_TOKEN: WRITER },
    });
    expect(code).toBe(4);
    expect(stderr.split('\n')[0]).toContain(
      'the token is sent to http://no-such-host.invalid in plaintext, readable on the network; use https',
    );
    expect(stderr).not.toContain('s3cret');
  });
});
