import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { run, start, startProgram, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

afterEach(stopAll);

const TOKEN = 'a-token-that-must-not-be-logged-1';

/** Parses each line of a log. */
const parseLines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

describe('the log of an API server', () => {
  it('has an object for each event, with its fields and without tokens', async () => {
    const serving = start(['serve', '--port', '0', '--log-format', 'json'], {
      env: { ANYSERVE_REGISTER_TOKEN: TOKEN },
    });
    const url = await serving.waitForOutput(/listening on (http:\S+)/);
    const registering = start(['register', '--id', 'r1', '--endpoint', 'r1.test:1', '--cap', 'model=x'], {
      env: { ANYSERVE_TOKEN: TOKEN, ANYSERVE_SERVER: url },
    });
    await registering.waitForOutput(/registered r1/);
    await registering.stop();
    const refused = await fetch(`${url}/register`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}2` } });
    expect(refused.status).toBe(401);
    await until('it is removed', () => serving.stderr().includes('"registration_refused"'));
    const { stderr } = await serving.stop();
    expect(stderr).not.toContain(TOKEN);
    const [registered, removed, refusal] = parseLines(stderr);
    expect(registered).toMatchObject({ level: 'info', event: 'registered', replica: 'r1', endpoint: 'r1.test:1' });
    expect(registered?.['time']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(removed).toMatchObject({
      event: 'removed',
      replica: 'r1',
      reason: 'released',
      host: '127.0.0.1',
      lived_ms: expect.any(Number),
      last_seen_ms: expect.any(Number),
    });
    expect(refusal).toMatchObject({
      level: 'warn',
      event: 'registration_refused',
      host: '127.0.0.1',
      code: 'unauthenticated',
      reason: 'unknown token: this request needs a register token',
    });
  });

  it('has at most 10 lines a second about refused registrations', async () => {
    const serving = start(['serve', '--port', '0', '--log-format', 'json']);
    const url = await serving.waitForOutput(/listening on (http:\S+)/);
    for (let round = 0; round < 10; round++)
      await Promise.all(Array.from({ length: 30 }, () => fetch(`${url}/register`, { method: 'POST', body: '{}' })));
    await until('the rest is counted', () => serving.stderr().includes('"omitted"'));
    const secondOf = ({ time }: Record<string, unknown>): string => String(time).slice(0, 19);
    const lines = parseLines(serving.stderr());
    const counts = lines.map((line) => lines.filter((other) => secondOf(other) === secondOf(line)).length);
    // A burst, and the first line after it.
    expect(Math.max(...counts)).toBeLessThanOrEqual(11);
  });
});

it('the log of a gateway has the requests that it refuses, and no key', async () => {
  const keyFile = join(await mkdtemp(join(tmpdir(), 'logs-')), 'keys');
  await writeFile(keyFile, 'alice key-of-alice-1234567', { mode: 0o600 });
  const gateway = start(['gateway', '--port', '0', '--key-file', keyFile, '--log-format', 'json']);
  const url = await gateway.waitForOutput(/listening on (http:\S+)/);
  const headers = { authorization: `Bearer ${TOKEN}` };
  expect((await fetch(`${url}/chat/completions?key=${TOKEN}`, { method: 'POST', headers, body: '{}' })).status).toBe(
    401,
  );
  await until('it is logged', () => gateway.stderr().includes('"request_refused"'));
  const { stderr } = await gateway.stop();
  expect(stderr).not.toContain(TOKEN);
  expect(parseLines(stderr).find(({ event }) => event === 'request_refused')).toMatchObject({
    level: 'warn',
    method: 'POST',
    path: '/v1/chat/completions',
    status: 401,
    host: '127.0.0.1',
    reason: expect.stringContaining('send Authorization: Bearer KEY'),
  });
});

it('a command that fails says so in an object of the log', async () => {
  const { code, stderr } = await run(['serve', '--port', '1', '--host', '192.0.2.1', '--log-format', 'json']);
  expect(code).toBe(1);
  expect(parseLines(stderr)).toMatchObject([{ level: 'error', event: 'failed', code: 'failed' }]);
});

it('register logs the changes of a program that it runs as objects', async () => {
  const serving = start(['serve', '--port', '0']);
  const url = await serving.waitForOutput(/listening on (http:\S+)/);
  const port = await findFreePort();
  const server = ['-e', `require('net').createServer().listen(${port}, '127.0.0.1')`];
  const options = [
    '--id',
    'r1',
    '--endpoint',
    `127.0.0.1:${port}`,
    '--cap',
    'model=x',
    '--probe',
    'tcp',
    '--server',
    url,
  ];
  const running = start(['register', ...options, '--log-format', 'json', '--', process.execPath, ...server]);
  await until('it is registered', () => running.stderr().includes('"event":"registered"'));
  await running.stop();
  const events = parseLines(running.stderr());
  expect(events).toContainEqual(expect.objectContaining({ level: 'info', event: 'healthy', replica: 'r1' }));
  expect(events).toContainEqual(expect.objectContaining({ event: 'registered', replica: 'r1', server: url }));
});

it('a text line has the zone of the process', async () => {
  const serving = startProgram([process.execPath, 'bin/anyserve.js', 'serve', '--port', '0', '--host', '0.0.0.0'], {
    env: { TZ: 'Asia/Kolkata' },
  });
  await serving.waitForOutput(/listening on/);
  await until('it warns', () => serving.stderr() !== '');
  expect(serving.stderr()).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+05:30 warn anyone who can reach 0\.0\.0\.0 /);
});
