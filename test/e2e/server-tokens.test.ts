import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-tokens-'));
const TOKENS = { a: 'token-of-server-a', b: 'token-of-server-b' };

function writeToken(name: string, token: string): string {
  const path = join(folder, name);
  writeFileSync(path, `${token}\n`, { mode: 0o600 });
  return path;
}

const [fileA, fileB] = [writeToken('a', TOKENS.a), writeToken('b', TOKENS.b)];
let [serverA, serverB] = ['', ''];

beforeAll(async () => {
  const startServer = (file: string): Promise<string> =>
    start(['serve', '--port', '0', '--register-token-file', file, '--read-token-file', file]).waitForOutput(
      /listening on (http:\S+)/,
    );
  [serverA, serverB] = await Promise.all([startServer(fileA), startServer(fileB)]);
});

afterAll(async () => {
  await stopAll();
  rmSync(folder, { recursive: true });
});

/** Lists the replicas of both servers. */
const list = (...args: string[]) => run(['registry', '--server', serverA, '--server', serverB, ...args]);

describe('servers with different tokens', () => {
  it('each get their own', async () => {
    const files = ['--token-file', `${serverA}=${fileA}`, '--token-file', `${serverB}=${fileB}`];
    const servers = ['--server', serverA, '--server', serverB];
    const registering = start([
      'register',
      '--id',
      'r1',
      '--endpoint',
      'localhost:1',
      '--cap',
      'a=1',
      ...servers,
      ...files,
    ]);
    await registering.waitForOutput(/registered r1.*\n.*(registered) r1/);
    expect(await list(...files, '-o', 'name')).toEqual({ code: 0, stdout: 'r1\n', stderr: '' });
    await registering.stop();
  });

  it('without a file of their own get the one without a URL', async () => {
    expect((await list('--token-file', fileA, '--token-file', `${serverB}=${fileB}`)).stderr).toBe(
      'no replica is registered\n',
    );
    expect((await list('--token-file', fileA)).stderr).toContain(`the API server ${serverB} refused the request`);
  });

  it('are named if a file is for none of them, or two are for the same', async () => {
    const unknown = await list('--token-file', `http://localhost:1=${fileA}`);
    expect([unknown.code, unknown.stderr]).toEqual([
      2,
      `anyserve: --token-file http://localhost:1=${fileA}: http://localhost:1 is not one of the servers of --server\n`,
    ]);
    const twice = await list('--token-file', fileA, '--token-file', fileB);
    expect(twice.stderr).toBe(
      'anyserve: --token-file has two files for all servers; give one, or URL=FILE for each server\n',
    );
  });
});

describe('a file of peer tokens', () => {
  const serve = ['serve', '--port', '0', '--store', 'etcd://127.0.0.1:1', '--peer-token-file'];

  it('cannot have pairs, which would have no effect', async () => {
    const file = writeToken('peer-pairs', 'a-peer-token-of-the-test prefix=a- tenant=a');
    expect(await run([...serve, file])).toMatchObject({
      code: 2,
      stderr: `anyserve: --peer-token-file ${file}: only register and read tokens can be limited by pairs; remove them\n`,
    });
  });

  it('is read once, so that a warning about it is logged once', async () => {
    const file = writeToken('peer', 'short');
    chmodSync(file, 0o604);
    const server = start([...serve, file]);
    await server.waitForOutput(/listening on/);
    expect(server.stderr().match(/ warn --peer-token-file/g)).toHaveLength(1);
    await server.stop();
  });
});
