import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Gives a run of the tests, and what they start, a folder of its own for temporary files, and removes it at the end. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'anyserve-test-'));
  process.env['TMPDIR'] = folder;
  // The binary keeps code there.
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  return () => rmSync(folder, { recursive: true, force: true });
}
