import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadClientTls, loadServerTls } from '../../src/credentials/tls-files.js';
import { createAuthority } from '../support/certificates.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

const authority = createAuthority();
const [first, second] = [authority.sign('first'), authority.sign('second')];
const createWorld = (): { clock: ManualClock; log: ReturnType<typeof createRecordingLog> } => ({
  clock: new ManualClock(),
  log: createRecordingLog(),
});
const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));

function writeFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function read(cert: string, key: string, ca = authority.cert) {
  return loadServerTls(
    {
      cert: { option: 'tls-cert', path: writeFile('cert', cert) },
      key: { option: 'tls-key', path: writeFile('key', key) },
      ca: { option: 'tls-ca', path: writeFile('ca', ca) },
    },
    createWorld(),
  )();
}

describe('TLS files', () => {
  it('are returned unchanged', () => {
    expect(read(first.cert, first.key)).toEqual({ cert: first.cert, key: first.key, ca: authority.cert });
    const ca = { option: 'tls-ca', path: writeFile('ca', authority.cert) };
    expect(loadClientTls({ ca }, createWorld())()).toEqual({ ca: authority.cert });
  });

  it.each([
    ['', first.key, authority.cert, '--tls-cert', 'it is not PEM'],
    ['hello', first.key, authority.cert, '--tls-cert', 'it is not PEM'],
    [first.cert, '', authority.cert, '--tls-key', 'it is not PEM'],
    [first.cert, first.cert, authority.cert, '--tls-key', 'it is not PEM'],
    [first.cert, second.key, authority.cert, '--tls-key', 'the key does not match the certificate'],
    [first.cert, first.key, '', '--tls-ca', 'it is not PEM'],
    [first.cert, first.key, first.key, '--tls-ca', 'it is not PEM'],
    [
      first.cert,
      first.key,
      authority.cert + first.cert.slice(0, 99),
      '--tls-ca',
      'it is cut off: a PEM block has no END line',
    ],
    [
      first.cert + authority.cert.slice(0, 99),
      first.key,
      authority.cert,
      '--tls-cert',
      'it is cut off: a PEM block has no END',
    ],
    [first.cert, first.key, authority.cert + authority.cert.replace(/\nM/, '\n?'), '--tls-ca', ''],
  ])('are named if they are invalid (%#)', (cert, key, ca, option, reason) => {
    expect(() => read(cert, key, ca)).toThrow(new RegExp(`^${option}: cannot use \\S+: ${reason}`));
  });

  it('are reloaded together: a new certificate waits for its key', () => {
    const { clock, log } = createWorld();
    const [certPath, keyPath] = [writeFile('cert', first.cert), writeFile('key', first.key)];
    const current = loadServerTls(
      { cert: { option: 'tls-cert', path: certPath }, key: { option: 'tls-key', path: keyPath } },
      { clock, log },
    );
    writeFile('cert', second.cert);
    clock.advance(1000);
    expect(current().cert).toBe(first.cert);
    expect(log.lines).toEqual([expect.stringMatching(/^--tls-key: cannot use .*; the previous content stays in use$/)]);
    writeFile('key', second.key);
    clock.advance(1000);
    expect(current()).toMatchObject({ cert: second.cert, key: second.key });
  });
});
