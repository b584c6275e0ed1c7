import { expect, it } from 'vitest';
import { createEchoBackend } from '../../src/worker/echo-backend.js';
import { registerEngine, startTestApiServer } from '../support/api-server.js';
import { startProgram } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { startTestWorker } from '../support/worker.js';
import { getInteropPath, PYTHON } from './python.js';

const keep = closeAfterEach();

it('the example with tritonclient prints the outputs of a replica, also after another one has died', async () => {
  const server = keep(await startTestApiServer());
  const worker = await startTestWorker(createEchoBackend(), { servers: [server.url], drainTimeoutMs: 0 });
  keep({ close: () => worker.stop() });
  const example = (): ReturnType<typeof startProgram> =>
    startProgram([PYTHON, getInteropPath('../../examples/python/infer.py'), 'type=echo', 'Grüße', server.url], {
      env: { PYTHONIOENCODING: 'utf-8' },
    });
  expect(await example().ended).toMatchObject({ code: 0, stdout: 'prompt: Grüße\n', stderr: '' });
  // Nothing listens at this port. One of 20 calls goes there first, almost certainly.
  await registerEngine(server, 'dead', '127.0.0.1:1', [{ type: 'echo' }]);
  let reports = '';
  for (let call = 0; call < 20 && reports === ''; call++) {
    const { code, stdout, stderr } = await example().ended;
    expect([code, stdout]).toEqual([0, 'prompt: Grüße\n']);
    reports = stderr;
  }
  expect(reports).toBe('dead failed, trying another replica\n');
});
