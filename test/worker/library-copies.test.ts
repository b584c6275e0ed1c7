import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { AnyserveError, type ErrorCode } from '../../src/core/errors.js';
import { HandlerResponse } from '../../src/inference/inference-data.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestWorker } from '../support/worker.js';

let worker: Awaited<ReturnType<typeof startTestWorker>>;
let client: InferenceClient;

beforeAll(async () => {
  // The copies that a worker's module gets when `anyserve` is installed globally and next to the module.
  vi.resetModules();
  const errors = await import('../../src/core/errors.js');
  const data = await import('../../src/inference/inference-data.js');
  expect([errors.AnyserveError === AnyserveError, data.HandlerResponse === HandlerResponse]).toEqual([false, false]);
  const app = new App()
    .capability({ type: 'text' }, () => new data.HandlerResponse({ text: ['x'] }, { finish_reason: 'stop' }))
    .capability({ type: 'failing' }, () => {
      throw new errors.AnyserveError('not_found', 'no such voice');
    })
    .capability({ type: 'newer' }, () => {
      throw new errors.AnyserveError('unheard_of' as ErrorCode, 'no such code');
    });
  worker = await startTestWorker(app);
  client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
});

afterAll(async () => {
  await client.close();
  await worker.stop();
});

it('a response of another copy of the library keeps its outputs and parameters', async () => {
  const { outputs, parameters } = await client.infer('text', {});
  expect([Object.keys(outputs), parameters]).toEqual([['text'], { finish_reason: 'stop' }]);
});

it('an error of another copy of the library keeps its code, if this copy has it', async () => {
  await expect(client.infer('failing', {})).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringMatching(/: no such voice$/),
  });
  await expect(client.infer('newer', {})).rejects.toMatchObject({ code: 'internal' });
});
