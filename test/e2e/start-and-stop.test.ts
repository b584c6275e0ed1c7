import { afterEach, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

afterEach(stopAll);

async function serve(...args: string[]): Promise<Running & { url: string }> {
  const running = start(['serve', '--port', '0', ...args]);
  return { ...running, url: await running.waitForOutput(/listening on (\S+)/) };
}

async function register(url: string, id: string): Promise<Running> {
  const place = ['--endpoint', `${id}.test:1`, '--cap', 'type=chat', '--server', url];
  const registrant = start(['register', '--id', id, ...place]);
  await registrant.waitForOutput(/registered/);
  return registrant;
}

describe('an API server that has just started', () => {
  it('is queried again by route for a while, and by infer until its warm-up ends', async () => {
    const { url } = await serve('--warming', '60s');
    const asked = run(['route', 'type=chat', '--wait', '15s', '--server', url]);
    const missed = await run(['route', 'type=chat', '--wait', '0', '--server', url]);
    expect(missed).toMatchObject({ code: 3, stderr: expect.stringContaining('no replica is registered') });
    await register(url, 'r1');
    expect(await asked).toMatchObject({ code: 0, stdout: expect.stringContaining('r1.test:1') });
    const calling = start(['infer', 'nobody', '--prompt', 'x', '--timeout', '3s', '--server', url]);
    const called = await calling.ended;
    expect(called).toMatchObject({ code: 3, stderr: expect.stringContaining('the API server has just started') });
  });
});

describe('an API server that is stopped', () => {
  it('disconnects its replicas one after the other, and ends after the last', async () => {
    const server = await serve('--drain', '4s');
    const registrants = await Promise.all(['r1', 'r2', 'r3', 'r4'].map((id) => register(server.url, id)));
    server.child.kill('SIGTERM');
    await until('the first was disconnected', () => server.stderr().includes('shutdown'));
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
    expect(await server.ended).toMatchObject({ code: 0 });
    await until('all have lost it', () => registrants.every(({ stdout }) => stdout().includes('lost')));
  });

  it('ends at once when it holds no lease, and on a second signal', async () => {
    expect(await (await serve('--drain', '1000s')).stop()).toMatchObject({ code: 0 });
    const server = await serve('--drain', '1000s');
    await Promise.all(['r1', 'r2', 'r3'].map((id) => register(server.url, id)));
    server.child.kill('SIGTERM');
    await until('it drains', async () => (await fetch(`${server.url}/readyz`)).status === 503);
    expect(await server.stop('SIGTERM')).toMatchObject({ code: 0 });
  });
});
