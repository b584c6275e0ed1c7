import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { startCurlRegistrant } from '../support/fleet.js';
import { formatReplicaList, replica } from '../support/replicas.js';

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  await startCurlRegistrant(server, 'r1', { body: { capabilities: [{ type: 'chat', gpu: 'a100' }] } });
  await startCurlRegistrant(server, 'r2', { body: { capabilities: [{ type: 'chat', gpu: 'l4' }], state: 'draining' } });
});

afterAll(stopAll);

function explain(...args: string[]) {
  return run(['route', '--explain', ...args]);
}

describe('route --explain', () => {
  it('prints the replicas of which one is picked, and the other matches', async () => {
    expect(await explain('type=chat', '--server', server)).toEqual({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(
        /^1 ready replica offers \{"type":"chat"\}: "r1"\n {2}"r2" \(draining for \ds\) matches, but gets no calls\n$/,
      ),
    });
  });

  it('prints why no replica matches, and ends with 3', async () => {
    expect(await explain('type=chat', 'gpu=rtx4090', '--server', server)).toEqual({
      code: 3,
      stderr: '',
      stdout: 'no replica offers {"type":"chat","gpu":"rtx4090"}\n  wanted gpu=rtx4090, "r1" has gpu=a100\n',
    });
    const unready = await explain('gpu=l4', '--server', server);
    expect(unready).toMatchObject({ code: 3, stdout: expect.stringContaining('"r2" (draining for ') });
  });

  it('prints the object of the API server with --json', async () => {
    const { code, stdout } = await explain('gpu=l4', '--json', '--server', server);
    const body = await (await fetch(`${server}/explain?gpu=l4`)).text();
    const withoutAges = (text: string): string => text.replace(/"state_age_ms":\d+/g, '').replace(/for \d+s/g, '');
    expect([code, withoutAges(stdout)]).toEqual([3, `${withoutAges(body)}\n`]);
  });

  it('asks every API server, also one without explanations', async () => {
    const list = formatReplicaList([replica('p1', { type: 'chat' })]);
    const python = createServer(({ url }, response) => {
      if (url === '/registry') response.end(list);
      else response.writeHead(404).end('{"detail":"Not Found"}');
    });
    await new Promise<void>((resolve) => python.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(python.address() as AddressInfo).port}`;
    const servers = ['--server', server, '--server', url, '--server', 'http://127.0.0.1:1'];
    const text = await explain('gpu=a100', ...servers);
    const json = await explain('gpu=a100', '--json', ...servers);
    python.close();
    expect(text).toMatchObject({ code: 0, stderr: expect.stringContaining('incomplete explanation: cannot reach') });
    expect(text.stdout).toBe(
      `${server}: 1 ready replica offers {"gpu":"a100"}: "r1"\n` +
        `${url}: no replica offers {"gpu":"a100"}\n  1 replica is registered, and offers nothing similar\n`,
    );
    const lines = json.stdout.split('\n').filter(Boolean);
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { server, candidates: { count: 1, replicas: [{ replica_id: 'r1' }] } },
      { server: url, candidates: { count: 0 }, replicas: 1 },
    ]);
  });

  it('fails if no API server can be reached', async () => {
    expect(await explain('a=b', '--server', 'http://127.0.0.1:1')).toMatchObject({ code: 4, stdout: '' });
  });
});
