import { mkdtempSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { type Authority, createAuthority } from '../support/certificates.js';
import { startForwardProxy } from '../support/forward-proxy.js';
import { type OpenaiUpstream, sendJson, startOpenaiUpstream } from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const SECRET = 'proxy-secret';

let authority: Authority;
const cleanups: (() => unknown)[] = [];

beforeAll(() => {
  authority = createAuthority();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(stopAll);

async function startUpstream(options: Parameters<typeof startOpenaiUpstream>[0] = {}): Promise<OpenaiUpstream> {
  const upstream = await startOpenaiUpstream(options);
  cleanups.push(() => upstream.close());
  return upstream;
}

function startWorker(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const running = start(['worker', '--port', '0', '--no-register', ...args], { env });
  cleanups.push(() => running.stop('SIGKILL'));
  return running;
}

const waitForEndpoint = (running: Running): Promise<string> => running.waitForOutput(/^serving on (\S+)/m);

const runInfer = async (at: string) => run(['infer', 'tiny', '--endpoint', at, '--prompt', 'one two', '--no-retry']);

describe('an https upstream with a private certificate authority', () => {
  it('is trusted with --openai-tls-ca, and not without', async () => {
    const { cert, key } = authority.sign('engine');
    const upstream = await startUpstream({ tls: { cert, key } });
    const at = await waitForEndpoint(startWorker(['--openai', upstream.url, '--openai-tls-ca', authority.certFile]));
    expect(await runInfer(at)).toMatchObject({ code: 0, stdout: 'one two\n' });
    const untrusting = startWorker(['--openai', upstream.url]);
    await until('it says why it waits', () => untrusting.stderr().includes('--openai-tls-ca FILE'));
    expect(untrusting.stderr()).toContain('not signed by a trusted authority');
  });

  it('receives a client certificate when it requests one', async () => {
    const { cert, key } = authority.sign('engine');
    const mine = authority.sign('worker');
    const upstream = await startUpstream({ tls: { cert, key, ca: authority.cert, requestCert: true } });
    const files = [
      '--openai-tls-ca',
      authority.certFile,
      '--openai-tls-cert',
      mine.certFile,
      '--openai-tls-key',
      mine.keyFile,
    ];
    expect(await runInfer(await waitForEndpoint(startWorker(['--openai', upstream.url, ...files])))).toMatchObject({
      code: 0,
    });
  });
});

it('a server that closes each connection is suspected of another protocol, or of rejecting the certificate', async () => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  const place = `127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const plain = startWorker(['--openai', `http://${place}`]);
  await until('it suggests https', () => plain.stderr().includes('without a response; does it use https?'));
  const { cert, key } = authority.sign('engine');
  const upstream = await startUpstream({
    tls: { cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
  });
  const foreign = createAuthority('other').sign('worker');
  const files = ['--openai-tls-cert', foreign.certFile, '--openai-tls-key', foreign.keyFile];
  const rejected = startWorker(['--openai', upstream.url, '--openai-tls-ca', authority.certFile, ...files]);
  const advice = 'does it accept the certificate of --openai-tls-cert?';
  await until(advice, () => rejected.stderr().includes(advice));
});

describe('the file with the key', () => {
  it('is reloaded when it changes, and the old key stays in use when the new file is unusable', async () => {
    let key = 'first-key-of-the-engine';
    const upstream = await startUpstream({
      handleRequest({ authorization }, response) {
        if (authorization === `Bearer ${key}`) return undefined;
        sendJson(response, 401, { error: { message: `not the key: ${authorization}` } });
        return true;
      },
    });
    const file = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'key');
    writeFileSync(file, `${key}\n`, { mode: 0o600 });
    const running = startWorker(['--openai', upstream.url, '--openai-key-file', file]);
    const at = await waitForEndpoint(running);
    expect(await runInfer(at)).toMatchObject({ code: 0 });
    writeFileSync(file, 'two words\n');
    await until('the error is reported', () => running.stderr().includes('the key has spaces'));
    expect(await runInfer(at)).toMatchObject({ code: 0 });
    const second = 'other-key-of-the-engine';
    writeFileSync(file, `${second}\n`);
    await until('the file is reloaded', () => running.stderr().includes('reloaded: '));
    key = second;
    expect(await runInfer(at)).toMatchObject({ code: 0 });
    expect(running.stderr()).not.toMatch(/two words|-key-of-the-engine/);
  });
});

describe('a proxy', () => {
  it.each([
    ['HTTP_PROXY', false],
    ['http_proxy', false],
    ['HTTPS_PROXY', true],
    ['all_proxy', true],
  ])('is used by %s, with its user and password, which are shown nowhere', async (variable, isSecure) => {
    const proxy = await startForwardProxy(`me:${SECRET}`);
    cleanups.push(() => proxy.close());
    const { cert, key } = authority.sign('engine');
    const upstream = await startUpstream(isSecure ? { tls: { cert, key } } : {});
    const ca = isSecure ? ['--openai-tls-ca', authority.certFile] : [];
    const env = { [variable]: `http://me:${SECRET}@127.0.0.1:${proxy.port}`, DEBUG: '*' };
    const running = startWorker(['--openai', upstream.url, '--debug', ...ca], env);
    expect(await runInfer(await waitForEndpoint(running))).toMatchObject({ code: 0, stdout: 'one two\n' });
    const { host } = new URL(upstream.url);
    const asked = isSecure ? `CONNECT ${host}` : `POST ${upstream.url}/chat/completions`;
    expect(proxy.asked).toContain(asked);
    const { stdout, stderr } = await running.stop();
    expect(stderr).toContain(`connecting to ${upstream.url} through proxy 127.0.0.1:${proxy.port}`);
    expect(stdout + stderr).not.toContain(SECRET);
    expect(stdout + stderr).not.toContain(Buffer.from(`me:${SECRET}`).toString('base64'));
  });

  it.each(['example.com,127.0.0.1', '10.0.0.0/8, 127.0.0.0/8', '*'])(
    'is not used for what NO_PROXY names: %s',
    async (NO_PROXY) => {
      const upstream = await startUpstream();
      const env = { HTTP_PROXY: `http://me:${SECRET}@127.0.0.1:1`, NO_PROXY };
      expect(await runInfer(await waitForEndpoint(startWorker(['--openai', upstream.url], env)))).toMatchObject({
        code: 0,
      });
    },
  );

  it('is named when it fails, without its user and password', async () => {
    const proxy = await startForwardProxy('other:password');
    cleanups.push(() => proxy.close());
    const cases: [Record<string, string>, string][] = [
      [{ HTTP_PROXY: `http://me:${SECRET}@127.0.0.1:${proxy.port}` }, 'returned HTTP 407'],
      [{ HTTPS_PROXY: `http://me:${SECRET}@127.0.0.1:${proxy.port}` }, 'returned HTTP 407'],
      [{ HTTP_PROXY: `http://me:${SECRET}@127.0.0.1:1` }, 'nothing listens there'],
      [{ HTTP_PROXY: `socks5://me:${SECRET}@127.0.0.1:1` }, 'socks5://127.0.0.1:1; set it to http://HOST:PORT'],
      [{ HTTP_PROXY: `http://me:${SECRET}@a b` }, 'not a valid URL'],
    ];
    for (const [env, message] of cases) {
      const url = `${'HTTPS_PROXY' in env ? 'https' : 'http'}://engine.example:8000/v1`;
      const running = startWorker(['--openai', url], env);
      await until(message, () => running.stderr().includes(message));
      expect(running.stderr()).not.toContain(SECRET);
    }
  });
});

it('the options of a worker in front of a server are validated', async () => {
  const url = 'http://127.0.0.1:1/v1';
  const cases: [string[], string][] = [
    [['--openai', url, '--type', 'a'], 'expected NAME=embed or NAME=chat'],
    [['--openai', url, '--type', 'a=rerank'], '--type "a=rerank"'],
    [['--openai', url, '--type', 'a=chat', '--embeddings', 'a'], 'has two types, chat and embed'],
    [['--openai', url, '--probe-path', 'health'], '--probe-path "health" is not a path'],
    [['--openai', url, '--openai-idle-timeout', 'soon'], '--openai-idle-timeout "soon"'],
    [['--openai', url, '--openai-tls-ca', '/nowhere'], 'cannot read /nowhere'],
    [['--openai', url, '--openai-tls-ca', authority.certFile], `${url} does not use TLS: give an https URL`],
    [['--backend', 'echo', '--probe-path', '/health'], '--probe-path requires --openai URL'],
    [['--backend', 'echo', '--type', 'a=embed'], '--type requires --openai URL'],
    [['--backend', 'echo', '--openai-timeout', '5s'], '--openai-timeout requires --openai URL'],
    [['--backend', 'echo', '--metrics-host', '0.0.0.0'], '--metrics-host requires --metrics-port PORT'],
    [['--backend', 'echo', '--openai-tls-ca', authority.certFile], '--openai-tls-ca requires --openai URL'],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await startWorker(args).ended;
    expect([code, stderr.split('\n').length]).toEqual([2, 2]);
    expect(stderr).toContain(message);
  }
});
