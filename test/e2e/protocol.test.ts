import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

let server: string;

const URL_TEXT = 'http://localhost:8000/v1';

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  const register = (...args: string[]) => start(['register', ...args, '--probe', 'none', '--server', server]);
  register('--id', 'h1', '--endpoint', URL_TEXT, '--cap', 'type=chat', '--cap', 'type=embed');
  register('--id', 'g1', '--endpoint', 'localhost:50051', '--cap', 'type=chat,gpu=a100');
  await until('both are registered', async () => {
    const { replicas } = (await (await fetch(`${server}/registry`)).json()) as { replicas: unknown[] };
    return replicas.length === 2;
  });
});

afterAll(stopAll);

const runCommand = (...args: string[]) => run([...args, '--server', server], { input: 'Hello\n' });

describe('route --url', () => {
  it('prints only the URL', async () => {
    expect(await runCommand('route', '--url', 'type=chat')).toMatchObject({ code: 0, stdout: `${URL_TEXT}\n` });
  });

  it('prints the same members of JSON as without it', async () => {
    const [url, any] = [await runCommand('route', '--url', '--json'), await runCommand('route', '--json')];
    expect(JSON.parse(url.stdout)).toEqual({ endpoint: URL_TEXT, replica_id: 'h1' });
    expect(JSON.parse(any.stdout)).toEqual({ endpoint: 'localhost:50051', replica_id: 'g1' });
  });

  it('names the gRPC replica if only that matches, also with --where and --wait', async () => {
    const failure = {
      code: 3,
      stdout: '',
      stderr: expect.stringContaining(
        'no HTTP replica offers {"gpu":"a100"}; "g1" offers it over gRPC: find an endpoint with "anyserve route"',
      ),
    };
    expect(await runCommand('route', '--url', 'gpu=a100')).toMatchObject(failure);
    expect(await runCommand('route', '--url', 'gpu=a100', '--where', 'type', '--wait', '100ms')).toMatchObject(failure);
  });

  it('explains which replicas have a URL', async () => {
    expect(await runCommand('route', '--url', '--explain', 'type=chat')).toMatchObject({
      code: 0,
      stdout: '1 ready HTTP replica offers {"type":"chat"}: "h1"\n  "g1" offers it over gRPC\n',
    });
  });
});

describe('without --url', () => {
  it('route prints a URL only if no other replica matches', async () => {
    expect((await runCommand('route', 'type=chat')).stdout).toMatch(/g1 +localhost:50051\n/);
    expect((await runCommand('route', 'type=embed')).stdout).toMatch(/h1 +http:\/\/localhost:8000\/v1\n/);
  });

  it.each(['infer', 'chat'])('%s says how to find the URL if only a URL matches', async (command) => {
    const args = command === 'infer' ? ['infer', 'embed', 'Hello'] : ['chat', 'embed'];
    expect(await runCommand(...args, '--timeout', '20s')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining(
        'no gRPC replica offers {"type":"embed"} or {"model":"embed"}; "h1" offers it over HTTP: find a URL with "anyserve route --url"',
      ),
    });
  });
});
