import { afterEach } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { InferenceResponse, Tensor, TensorValue } from '../../src/inference/inference-data.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { clock, random } from '../../src/system.js';
import { createOpenaiBackend, type OpenaiBackendOptions } from '../../src/worker/openai-backend.js';
import { type OpenaiUpstream, startOpenaiUpstream, type UpstreamHandler } from './openai-upstream.js';
import { createRecordingLog } from './replicas.js';
import { startTestWorker } from './worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an upstream that closes after the test. */
export async function startUpstream(
  handleRequest?: UpstreamHandler,
  models?: readonly (string | object)[],
  others: Omit<Parameters<typeof startOpenaiUpstream>[0], 'handleRequest' | 'models'> = {},
): Promise<OpenaiUpstream> {
  const upstream = await startOpenaiUpstream({
    ...others,
    ...(handleRequest && { handleRequest }),
    ...(models && { models }),
  });
  cleanups.push(() => upstream.close());
  return upstream;
}

/** Creates a backend for an upstream, with access to its log lines. */
export async function startBackend(upstream: { url: string }, options: Partial<OpenaiBackendOptions> = {}) {
  const log = createRecordingLog();
  const backend = await createOpenaiBackend(
    {
      url: upstream.url,
      key: undefined,
      timeoutMs: 30_000,
      idleTimeoutMs: options.timeoutMs ?? 30_000,
      models: [],
      embeddingModels: [],
      capabilities: [],
      clock,
      log,
      ...options,
    },
    new AbortController().signal,
  );
  cleanups.push(() => backend.close?.());
  return { ...backend, log };
}

/** Starts a worker in front of an upstream, and a client of that worker. */
export async function startWorkerFor(upstream: { url: string }, options: Partial<OpenaiBackendOptions> = {}) {
  const worker = await startTestWorker(await startBackend(upstream, options));
  cleanups.push(() => worker.stop());
  const client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
  cleanups.push(() => client.close());
  return { client, worker };
}

export function readText({ outputs }: InferenceResponse): string {
  return tensorToTexts(outputs['text'] as Tensor).join('');
}

/** Returns the texts of each output of a response. */
export function readTexts({ outputs }: InferenceResponse): Record<string, string[]> {
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensorToTexts(tensor)]));
}

export const toPromptInputs = (text: string): Record<string, TensorValue> => ({ prompt: [text] });

/** Makes a streaming call and returns all its messages. */
export async function collectMessages(client: InferenceClient, parameters = {}): Promise<InferenceResponse[]> {
  const messages: InferenceResponse[] = [];
  for await (const message of client.inferStream('chat', toPromptInputs('x'), { parameters })) messages.push(message);
  return messages;
}
