import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createReloadingGetter } from '../../src/credentials/reloading-files.js';
import { loadServerTls } from '../../src/credentials/tls-files.js';
import { hashToken, TokenSet } from '../../src/credentials/token-set.js';
import { createAuthority } from '../support/certificates.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-'));

const word = fc.stringMatching(/^[abc]{1,4}$/);
const line = fc.oneof(
  word,
  fc.tuple(word, word).map(([token, prefix]) => `${token} ${prefix}`),
  fc.constantFrom('', '# note', '  '),
);
/** A token file with at least one token; with and without a final newline, with both kinds of line endings. */
const tokenFile = fc
  .tuple(fc.array(line, { maxLength: 3 }), word, fc.constantFrom('\n', '\r\n'), fc.boolean())
  .map(([lines, last, end, isEnded]) => [...lines, last].join(end) + (isEnded ? end : ''));

const IDS = ['', 'a', 'b', 'ab', 'abc', 'abca', 'cabc', 'bbbb'];

/** Returns which of the test ids a token can register. */
function listGranted(tokens: TokenSet, token: string): string {
  const prefixes = tokens.findGrant(hashToken(token))?.prefixes ?? [];
  return IDS.filter((id) => prefixes.some((prefix) => id.startsWith(prefix))).join();
}

const isPartOf = (few: string, many: string): boolean =>
  few === '' || few.split(',').every((id) => many.split(',').includes(id));

const parse = ([text = '']: readonly string[]): TokenSet => new TokenSet(text.split('\n'));

describe('a token file that is read while it is rewritten', () => {
  it('never grants more than the old file or the complete new file', () => {
    const path = join(folder, 'tokens');
    fc.assert(
      fc.property(tokenFile, tokenFile, fc.array(fc.nat(8), { maxLength: 12 }), (before, after, steps) => {
        writeFileSync(path, before);
        const clock = new ManualClock();
        const current = createReloadingGetter([{ option: 'x', path }], { parse }, { clock, log: createRecordingLog() });
        const [old, whole] = [parse([before]), parse([after])];
        const tokens = new Set(`${before}\n${after}`.split(/\s+/).flatMap((text) => listPrefixes(text)));
        const check = (): void => {
          for (const token of tokens) {
            const now = listGranted(current(), token);
            const isAllowed = [old, whole].some((file) => isPartOf(now, listGranted(file, token)));
            if (!isAllowed) throw new Error(`${token} may ${now}`);
          }
        };
        let written = 0;
        writeFileSync(path, '');
        for (const step of steps) {
          clock.advance(1000);
          check();
          appendFileSync(path, after.slice(written, written + step));
          written += step;
          // After a pause, a partial file cannot be distinguished from a complete one.
          if (step === 0) return;
        }
        clock.advance(1000);
        check();
        writeFileSync(path, after);
        for (let round = 0; round < 3; round++) {
          clock.advance(1000);
          check();
        }
        for (const token of tokens) expect(listGranted(current(), token)).toBe(listGranted(whole, token));
      }),
      { numRuns: 150 },
    );
  });
});

function listPrefixes(text: string): string[] {
  return Array.from({ length: text.length }, (_, at) => text.slice(0, at + 1));
}

/** Removes an incomplete block at the end. */
const removePartialBlock = (text = ''): string => text.slice(0, text.lastIndexOf('-----END') + 25).trim();

describe('certificates that are read while they are rewritten', () => {
  const authority = createAuthority();
  const other = createAuthority('other');
  const [first, second] = [authority.sign('first'), authority.sign('second')];

  /** Replaces one of three files by each beginning of a new text. Returns the settings after each of the next checks. */
  function listSettingsDuring(name: 'cert' | 'key' | 'ca', text: string): { cert: string; key: string; ca?: string }[] {
    const seen = [];
    for (let length = 0; length < text.length; length += 23) {
      const getPath = (option: string, content: string) => {
        const path = join(folder, option);
        writeFileSync(path, content);
        return { option, path };
      };
      const clock = new ManualClock();
      const files = {
        cert: getPath('cert', first.cert),
        key: getPath('key', first.key),
        ca: getPath('ca', other.cert),
      };
      const current = loadServerTls(files, { clock, log: createRecordingLog() });
      getPath(name, text.slice(0, length));
      for (let round = 0; round < 4; round++) {
        clock.advance(1000);
        seen.push(current());
      }
    }
    return seen as { cert: string; key: string; ca?: string }[];
  }

  it('are the old pair while the new certificate or key is incomplete', () => {
    const chain = `${second.cert}${authority.cert}`;
    for (const { cert, key } of [...listSettingsDuring('cert', chain), ...listSettingsDuring('key', second.key)]) {
      expect({ cert, key }).toEqual({ cert: first.cert, key: first.key });
    }
  });

  it('are never a chain with an incomplete certificate', () => {
    const chain = `${first.cert}${authority.cert}`;
    const seen = new Set(listSettingsDuring('cert', chain).map(({ cert }) => removePartialBlock(cert)));
    expect([...seen]).toEqual([first.cert.trim()]);
  });

  it('are never authorities with an incomplete certificate', () => {
    const bundle = `${authority.cert}${other.cert}`;
    const seen = new Set(listSettingsDuring('ca', bundle).map(({ ca }) => removePartialBlock(ca)));
    const allowed = [other.cert, authority.cert, bundle].map((text) => text.trim());
    expect([...seen].filter((ca) => !allowed.includes(ca))).toEqual([]);
  });
});
