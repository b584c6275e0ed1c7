import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

let server: Running;
let url: string;

beforeEach(async () => {
  [server, url] = await startServer();
});

afterEach(stopAll);

async function startServer(port = '0'): Promise<[Running, string]> {
  const started = start(['serve', '--port', port]);
  return [started, await started.waitForOutput(/listening on (http:\S+)/)];
}

async function register(id: string, capability: string, server: string): Promise<Running> {
  const args = ['register', '--id', id, '--endpoint', `${id}.test:1`, '--cap', capability, '--server', server];
  const registering = start(args);
  await registering.waitForOutput(/registered/);
  return registering;
}

/** Returns the lines of a watch without their times. */
const readLines = ({ stdout }: Running): string[] =>
  stdout()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\d\d:\d\d:\d\d {2}/, ''));

const untilLine = (watch: Running, line: string): Promise<void> =>
  until(
    () => `the line ${line} is printed: ${watch.stdout()}${watch.stderr()}`,
    () => readLines(watch).includes(line),
  );

describe('anyserve registry --watch', () => {
  it('prints the replicas that match and then each change, until Ctrl-C', async () => {
    const first = await register('r1', 'type=chat', url);
    await register('r2', 'type=embed', url);
    const watch = start(['registry', '--watch', 'type=chat', '--server', url]);
    await untilLine(watch, '+ r1  ready  r1.test:1  type=chat');
    await register('r3', 'type=chat', url);
    await untilLine(watch, '+ r3  ready  r3.test:1  type=chat');
    await run(['cordon', 'r3', '--server', url]);
    await untilLine(watch, '~ r3  ready,cordoned  r3.test:1  type=chat');
    await first.stop();
    await untilLine(watch, '- r1  released');
    expect(await watch.stop('SIGINT')).toMatchObject({ code: 130, stderr: '' });
    expect(readLines(watch).length).toBe(4);
  });

  it('prints events as JSON, and ends with 0 after SIGTERM', async () => {
    await register('r1', 'type=chat', url);
    const watch = start(['registry', '--watch', '--json', '--server', url]);
    await until('the snapshot is complete', () => watch.stdout().includes('synced'));
    const events = readLines(watch).map((line) => JSON.parse(line));
    const replica = { replica_id: 'r1', endpoint: 'r1.test:1', state: 'ready', capabilities: [{ type: 'chat' }] };
    expect(events).toMatchObject([
      { event: 'snapshot', server: url, warming: false },
      { event: 'put', server: url, replica },
      { event: 'synced', server: url },
    ]);
    expect((await watch.stop('SIGTERM')).code).toBe(0);
  });

  it('watches several servers, names them, and goes on when one restarts', async () => {
    const port = String(await findFreePort());
    const [other, otherUrl] = await startServer(port);
    const watch = start(['registry', '--watch', '--server', url, '--server', otherUrl]);
    await register('r1', 'type=chat', url);
    await register('r2', 'type=chat', otherUrl);
    await untilLine(watch, `+ r1  ready  r1.test:1  type=chat  ${url}`);
    await untilLine(watch, `+ r2  ready  r2.test:1  type=chat  ${otherUrl}`);
    await other.stop('SIGKILL');
    await until('the loss is reported', () => watch.stderr().includes(`${otherUrl}`));
    expect(watch.stderr()).toMatch(/; retrying in \d\.\d s\n/);
    await startServer(port);
    await register('r3', 'type=chat', otherUrl);
    await untilLine(watch, `+ r3  ready  r3.test:1  type=chat  ${otherUrl}`);
    await register('r4', 'type=chat', url);
    await untilLine(watch, `+ r4  ready  r4.test:1  type=chat  ${url}`);
    expect((await watch.stop('SIGINT')).code).toBe(130);
  });

  it('prints a change once when one server is listed under two addresses', async () => {
    const twice = ['--server', url, '--server', url.replace('127.0.0.1', 'localhost')];
    const watch = start(['registry', '--watch', ...twice]);
    await register('r1', 'type=chat', url);
    await watch.waitForOutput(/\+ (r1)/);
    const r2 = await register('r2', 'type=chat', url);
    await watch.waitForOutput(/\+ (r2)/);
    await r2.stop();
    await watch.waitForOutput(/- (r2)/);
    expect(readLines(watch).map((line) => line.slice(0, 4))).toEqual(['+ r1', '+ r2', '- r2']);
    expect((await watch.stop('SIGINT')).code).toBe(130);
    expect((await run(['registry', ...twice])).stdout).not.toContain('SERVERS');
    const events = (await run(['events', '--kind', 'removed', ...twice])).stdout;
    expect(events.trim().split('\n').slice(1)).toHaveLength(1);
  });

  it('fails when no server can be watched: none listens, or it is one without a watch', async () => {
    await server.stop();
    expect(await run(['registry', '--watch', '--server', url])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/^anyserve: cannot reach the API server [^\n]*\n$/),
    });
    const python = createServer((_request, response) => response.writeHead(404).end('{"detail":"Not Found"}'));
    await new Promise<void>((resolve) => python.listen(0, '127.0.0.1', resolve));
    const { port } = python.address() as AddressInfo;
    const outcome = await run(['registry', '--watch', '--server', `http://127.0.0.1:${port}`, '--json']);
    expect(outcome).toMatchObject({ code: 5, stdout: '' });
    expect(JSON.parse(outcome.stderr)).toMatchObject({ error: { code: 'unimplemented' } });
    python.close();
  });

  it('ends when its reader does', async () => {
    await register('r1', 'type=chat', url);
    const watch = start(['registry', '--watch', '--server', url]);
    await untilLine(watch, '+ r1  ready  r1.test:1  type=chat');
    watch.child.stdout?.destroy();
    await register('r2', 'type=chat', url);
    expect((await watch.ended).code).toBe(0);
  });
});
