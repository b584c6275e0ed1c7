import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { InferenceResponse, Tensor } from '../../src/inference/inference-data.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import type { InferenceContext } from '../../src/worker/backend.js';
import { checkTensorParameters } from '../../src/worker/tensor-parameters.js';
import { startTestWorker } from '../support/worker.js';

let worker: Awaited<ReturnType<typeof startTestWorker>>;
let client: InferenceClient;
let context: InferenceContext;

const app = new App()
  .capability({ type: 'echo' }, (inputs, given) => {
    context = given;
    return inputs;
  })
  .capability({ type: 'classify' }, (_inputs, { outputParameters }) => {
    const count = Number(outputParameters?.['scores']?.['classification'] ?? 0);
    return { scores: count > 0 ? ['0.9:1:cat'] : Float32Array.of(0.1, 0.9) };
  })
  .capability({ type: 'ignore' }, () => ({ scores: Float32Array.of(0.1, 0.9) }))
  .capability({ type: 'count' }, async function* () {
    for (const n of [1, 2])
      yield { n: { datatype: 'INT32', shape: [1], data: [n], parameters: { [`p${n}`]: n } } as never };
  });

beforeEach(async () => {
  worker = await startTestWorker(app);
  client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
});

afterEach(async () => {
  await client.close();
  await worker.stop();
});

const createTensor = (parameters: Tensor['parameters']): Tensor => ({
  datatype: 'INT32',
  shape: [1],
  data: Int32Array.of(1),
  ...(parameters && { parameters }),
});

async function collectMessages(model: string, parameters = {}): Promise<InferenceResponse[]> {
  const messages: InferenceResponse[] = [];
  for await (const message of client.inferStream(model, {}, { parameters })) messages.push(message);
  return messages;
}

describe('parameters of single inputs and outputs', () => {
  it.each([false, true])('reach a handler, and are returned with its outputs (raw: %s)', async (raw) => {
    const parameters = { content_type: 'np', scale: { double: 0.5 }, axis: 1, big: 2n ** 60n, flag: true };
    const { outputs } = await client.infer(
      'echo',
      { a: createTensor(parameters), b: createTensor(undefined) },
      { raw },
    );
    expect({ ...outputs['a']?.parameters }).toEqual({ ...parameters, scale: 0.5 });
    expect(outputs['b']).toEqual(createTensor(undefined));
  });

  it('for outputs reach a handler by name', async () => {
    const outputs = ['a', { name: 'b', parameters: { content_type: 'pd' } }];
    await client.infer('echo', { a: createTensor(undefined), b: createTensor(undefined) }, { outputs });
    expect(context.outputs).toEqual(['a', 'b']);
    expect(context.outputParameters?.['b']?.['content_type']).toBe('pd');
    expect(context.outputParameters?.['a']).toBeUndefined();
  });

  it('are joined with the stream messages that have them', async () => {
    const { outputs } = await client.infer('count', {});
    expect({ ...outputs['n']?.parameters }).toEqual({ p1: 1, p2: 2 });
  });

  it('reach a handler that supports classification if they request it, and are rejected where values are returned', async () => {
    const outputs = [{ name: 'scores', parameters: { classification: 1 } }];
    const { outputs: given } = await client.infer('classify', {}, { outputs });
    expect(given['scores']?.datatype).toBe('BYTES');
    await expect(client.infer('ignore', {}, { outputs })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining(`output "scores" can't be returned as classes`),
    });
  });

  it('are rejected by name if they name shared memory, in unary and streaming calls', async () => {
    const input = createTensor({ shared_memory_region: 'region0', shared_memory_byte_size: 4 });
    const refused = { code: 'unimplemented', message: expect.stringContaining('shared memory region "region0"') };
    await expect(client.infer('echo', { a: input })).rejects.toMatchObject(refused);
    await expect(client.inferStream('echo', { a: input }).next()).rejects.toMatchObject(refused);
    const outputs = [{ name: 'a', parameters: { shared_memory_region: 'region0' } }];
    await expect(client.infer('echo', { a: createTensor(undefined) }, { outputs })).rejects.toMatchObject(refused);
  });

  it('are rejected by an engine that would ignore them, except those without effect', () => {
    const model = { name: 'm', ignoresTensorParameters: true } as never;
    const asked = (parameters: object, outputParameters = {}) =>
      ({ inputs: { prompt: createTensor(parameters as never) }, outputParameters }) as never;
    checkTensorParameters(model, asked({ content_type: 'str', binary_data_size: 7 }, { text: { binary_data: true } }));
    for (const parameters of [{ content_type: 'base64' }, { scale: 2 }]) {
      expect(() => checkTensorParameters(model, asked(parameters))).toThrow('does not support parameter');
      expect(() => checkTensorParameters(model, asked({}, { text: parameters }))).toThrow('of output "text"');
    }
  });
});

describe('a caller that requests a marked final response', () => {
  const wants = { triton_enable_empty_final_response: true };
  const finals = (messages: readonly InferenceResponse[]) =>
    messages.map((message) => message.parameters['triton_final_response']);

  it('gets an empty one after the messages of a stream', async () => {
    const messages = await collectMessages('count', wants);
    expect(finals(messages)).toEqual([false, false, true]);
    expect(messages.at(-1)).toMatchObject({ model: 'count', outputs: {} });
    expect(finals(await collectMessages('count'))).toEqual([undefined, undefined]);
  });

  it('gets the mark on the single response of a model that does not stream', async () => {
    expect(finals(await collectMessages('ignore', wants))).toEqual([true]);
  });

  it('gets the mark on a unary response', async () => {
    const { parameters } = await client.infer('echo', { a: createTensor(undefined) }, { parameters: wants });
    expect(parameters['triton_final_response']).toBe(true);
  });
});
