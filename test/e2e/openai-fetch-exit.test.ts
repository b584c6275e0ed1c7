import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { startProgram, stopAll } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { startTestFetch } from '../support/model-fetch.js';

const keep = closeAfterEach();

it('a program that does not close its fetch ends after its last call', async () => {
  keep({ close: stopAll });
  const { server, register } = keep(await startTestFetch());
  const engine = keep(await startHttpEngine((_request, response) => sendJson(response, { ok: true })));
  await register('a', engine.url);
  const library = pathToFileURL(fileURLToPath(new URL('../../dist/openai.js', import.meta.url)));
  const script = join(mkdtempSync(join(tmpdir(), 'fetch-')), 'program.mjs');
  writeFileSync(
    script,
    `import { createFetch } from '${library}';
    const fetch = createFetch({ server: process.argv[2] });
    for (let call = 0; call < 2; call++) {
      const response = await fetch('http://anyserve/v1/x', { method: 'POST', body: '{"model":"m"}' });
      console.log(await response.text());
    }
    process.on('exit', () => console.log(performance.now() - called < 2000 ? 'at once' : 'late'));
    const called = performance.now();`,
  );
  const { code, stdout, stderr } = await startProgram([process.execPath, script, server.url]).ended;
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '{"ok":true}\n{"ok":true}\nat once\n', stderr: '' });
});
