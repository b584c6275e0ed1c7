import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Running, run, start, startProgram, stopAll } from '../support/binary.js';
import { createAuthority } from '../support/certificates.js';
import { until } from '../support/until.js';

const authority = createAuthority();
const other = createAuthority('other');
const certificate = authority.sign('server');
const SHOWN = ['--tls-cert', certificate.certFile, '--tls-key', certificate.keyFile];
const LIBRARY = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
const UNCHECKED = { NODE_TLS_REJECT_UNAUTHORIZED: '0' };
const NO_AUTHORITY = /not signed by a trusted authority/;

let url: string;
let endpoint: string;

beforeAll(async () => {
  url = await start(['serve', '--port', '0', ...SHOWN]).waitForOutput(/listening on (https:\S+)/);
  const worker = start([
    ...['worker', '--backend', 'echo', '--cap', 'type=chat', '--port', '0', ...SHOWN],
    ...['--server', url, '--server-tls-ca', authority.certFile],
  ]);
  await worker.waitForOutput(/^registered/m);
  endpoint = await worker.waitForOutput(/serving on (\S+)/);
});

afterAll(stopAll);

const formatInfer = (...args: string[]): string[] => [
  'infer',
  'chat',
  '--prompt',
  'Hello',
  '--endpoint',
  endpoint,
  ...args,
];
const formatRegistry = (...args: string[]): string[] => ['registry', '--server', url, ...args];

describe('a given certificate authority', () => {
  const ca = ['--tls-ca', other.certFile];

  it('is used for API servers and calls, with any value of NODE_TLS_REJECT_UNAUTHORIZED', async () => {
    const asked = await run(formatRegistry(...ca), { env: UNCHECKED });
    expect(asked).toMatchObject({ code: 4, stdout: '', stderr: expect.stringMatching(NO_AUTHORITY) });
    const called = await run(formatInfer(...ca), { env: UNCHECKED });
    expect(called).toMatchObject({ code: 5, stdout: '', stderr: expect.stringMatching(NO_AUTHORITY) });
  });

  it('is used for workers and probes', async () => {
    const worker = ['worker', '--backend', 'echo', '--cap', 'a=1', '--port', '0', '--server', url];
    const registering = [
      'register',
      '--id',
      'p1',
      '--endpoint',
      endpoint,
      '--cap',
      'a=1',
      '--server',
      'http://[::1]:1',
    ];
    const tries: Running[] = [
      start([...worker, '--server-tls-ca', other.certFile], { env: UNCHECKED }),
      start([...registering, ...ca, '--probe', 'grpc', '--probe-tls'], { env: UNCHECKED }),
      start([...registering, ...ca, '--probe', 'http', '--probe-path', `${url}/health`], { env: UNCHECKED }),
    ];
    for (const { stdout, stderr } of tries) {
      await until('it names the authority', () => NO_AUTHORITY.test(stdout() + stderr()));
    }
  });

  it('is used in the library, and an empty one is refused', async () => {
    const script = `
      import { Client } from ${JSON.stringify(LIBRARY)};
      for (const ca of [${JSON.stringify(other.cert)}, '', ${JSON.stringify(authority.cert)}]) {
        for (const where of [{ endpoint: ${JSON.stringify(endpoint)} }, { server: ${JSON.stringify(url)}, capability: { type: 'chat' } }]) {
          const client = new Client({ ...where, tls: { ca } });
          const said = await client.infer('chat', { prompt: ['Hello'] }).then(() => 'ok', ({ message }) => message);
          console.log(said);
          await client.close();
        }
      }`;
    const command = [process.execPath, '--input-type=module', '-e', script];
    const { stdout } = await startProgram(command, { env: UNCHECKED }).ended;
    expect(stdout.trim().split('\n')).toEqual([
      expect.stringMatching(NO_AUTHORITY),
      expect.stringMatching(NO_AUTHORITY),
      expect.stringContaining('tls.ca is empty'),
      expect.stringContaining('tls.ca is empty'),
      'ok',
      'ok',
    ]);
  });
});

describe('without a given certificate authority', () => {
  it('a private authority is refused, for API servers and calls', async () => {
    expect((await run(formatRegistry())).stderr).toMatch(NO_AUTHORITY);
    expect((await run(formatInfer('--tls'))).stderr).toMatch(NO_AUTHORITY);
  });

  it.each<[string, NodeJS.ProcessEnv]>([
    ['NODE_EXTRA_CA_CERTS', { NODE_EXTRA_CA_CERTS: authority.certFile }],
    ['--use-openssl-ca', { NODE_OPTIONS: '--use-openssl-ca', SSL_CERT_FILE: authority.certFile }],
  ])('%s adds an authority for both, but not together with --tls-ca', async (_name, env) => {
    expect(await run(formatRegistry(), { env })).toMatchObject({ code: 0 });
    expect(await run(formatInfer('--tls'), { env })).toMatchObject({ code: 0, stdout: 'Hello\n' });
    expect((await run(formatRegistry('--tls-ca', other.certFile), { env })).stderr).toMatch(NO_AUTHORITY);
    expect((await run(formatInfer('--tls-ca', other.certFile), { env })).stderr).toMatch(NO_AUTHORITY);
  });

  it("gRPC's own variable for root certificates has no effect", async () => {
    const env = { GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: authority.certFile };
    expect((await run(formatInfer('--tls'), { env })).stderr).toMatch(NO_AUTHORITY);
  });

  it('NODE_TLS_REJECT_UNAUTHORIZED=0 disables verification for API servers, with a warning, but not for calls', async () => {
    const { code, stderr } = await run(formatRegistry(), { env: UNCHECKED });
    expect(code).toBe(0);
    expect(stderr).toContain(
      "NODE_TLS_REJECT_UNAUTHORIZED=0: the API server's certificate is not checked; give --tls-ca FILE, or unset the variable",
    );
    expect((await run(formatInfer('--tls'), { env: UNCHECKED })).stderr).toMatch(NO_AUTHORITY);
  });
});
