import { context, propagation, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { App, Client, createTracer, startWorker } from '../../src/index.js';
import { startTestApiServer } from '../support/api-server.js';
import { startTestGateway } from '../support/gateway.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { until } from '../support/until.js';

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  exporter.reset();
});

afterAll(async () => {
  await provider.shutdown();
  for (const api of [trace, context, propagation]) api.disable();
});

/** The attributes of a span, and its name, kind and status. */
const describeSpan = ({ name, kind, status, attributes }: ReadableSpan) => ({ name, kind, status, ...attributes });

const [INTERNAL, SERVER, CLIENT, OK, ERROR] = [0, 1, 2, 0, 2];

/** Returns the spans as a path from the outermost one. */
function listPath(): ReadableSpan[] {
  const path: ReadableSpan[] = [];
  for (let parent: string | undefined; ; ) {
    const next = exporter.getFinishedSpans().find((span) => span.parentSpanContext?.spanId === parent);
    if (!next) return path;
    path.push(next);
    parent = next.spanContext().spanId;
  }
}

async function startMultiplier() {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  const app = new App();
  let inHandler: string | undefined;
  app.capability({ type: 'multiply', model: 'm' }, () => {
    inHandler = trace.getActiveSpan()?.spanContext().traceId;
    return { y: Float32Array.of(1) };
  });
  const worker = await startWorker({ backends: [app], port: 0, servers: [server.url], id: 'r1' });
  cleanups.push(() => worker.stop());
  const client = new Client({ server: server.url, capability: { model: 'm' }, tracer: await createTracer() });
  cleanups.push(() => client.close());
  return { client, getTraceInHandler: () => inHandler };
}

describe('spans', () => {
  it('of a call and its attempt in a client, and of the call in the worker, are one trace', async () => {
    const { client, getTraceInHandler } = await startMultiplier();
    await client.infer('multiply', { a: Float32Array.of(2) });
    await until('all have ended', () => exporter.getFinishedSpans().length === 3);
    const [call, attempt, served] = listPath();
    expect(call && describeSpan(call)).toEqual({
      name: 'call m',
      kind: INTERNAL,
      status: { code: OK },
      'gen_ai.request.model': 'm',
    });
    expect(attempt && describeSpan(attempt)).toMatchObject({
      name: 'inference.GRPCInferenceService',
      kind: CLIENT,
      'rpc.system': 'grpc',
      'server.address': '127.0.0.1',
      'server.port': expect.any(Number),
      'anyserve.replica.id': 'r1',
      'anyserve.attempt': 1,
    });
    expect(served && describeSpan(served)).toMatchObject({
      name: 'inference.GRPCInferenceService/ModelInfer',
      kind: SERVER,
      'rpc.method': 'ModelInfer',
      'rpc.grpc.status_code': 0,
      'gen_ai.request.model': expect.any(String),
    });
    expect(getTraceInHandler()).toBe(call?.spanContext().traceId);
  });

  it('of calls that fail have the error', async () => {
    const { client } = await startMultiplier();
    await expect(client.infer('unknown', { a: Float32Array.of(2) })).rejects.toThrow('unknown');
    await until('all have ended', () => exporter.getFinishedSpans().length === 3);
    expect(listPath().map(({ status, attributes }) => [status.code, attributes['error.type']])).toEqual([
      [ERROR, 'not_found'],
      [ERROR, 'not_found'],
      [ERROR, 'NOT_FOUND'],
    ]);
  });

  it('of a stream end with it', async () => {
    const { client } = await startMultiplier();
    for await (const { outputs } of client.inferStream('multiply', { a: Float32Array.of(2) }))
      expect(outputs).toBeDefined();
    await until('all have ended', () => exporter.getFinishedSpans().length === 3);
    expect(listPath().map(({ name }) => name)).toEqual([
      'call m',
      'inference.GRPCInferenceService',
      'inference.GRPCInferenceService/ModelStreamInfer',
    ]);
  });

  it('of a gateway continue the trace of the caller, and the engine gets the span of the attempt', async () => {
    const { register, waitForModels, gateway } = await startTestGateway();
    cleanups.push(() => gateway.close());
    const received: (string | string[] | undefined)[] = [];
    const engine = await startHttpEngine(({ headers }, response) => {
      received.push(headers['traceparent']);
      sendJson(response, { choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } });
    });
    cleanups.push(() => engine.close());
    await register('a', engine.url);
    await waitForModels('m');
    const [traceId, parentId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${parentId}-01` },
      body: JSON.stringify({ model: 'm' }),
    });
    await response.text();
    await until('all have ended', () => exporter.getFinishedSpans().length === 3);
    const spans = exporter.getFinishedSpans();
    const served = spans.find(({ kind }) => kind === SERVER);
    const attempt = spans.find(({ kind }) => kind === CLIENT);
    expect(served && describeSpan(served)).toMatchObject({
      name: 'chat m',
      'gen_ai.operation.name': 'chat',
      'gen_ai.usage.input_tokens': 5,
      'http.response.status_code': 200,
      'anyserve.replica.id': 'a',
    });
    expect(served?.parentSpanContext?.spanId).toBe(parentId);
    expect(attempt && describeSpan(attempt)).toMatchObject({ 'http.request.method': 'POST', 'anyserve.attempt': 1 });
    expect(received).toEqual([`00-${traceId}-${attempt?.spanContext().spanId}-01`]);
    expect(new Set(spans.map((span) => span.spanContext().traceId))).toEqual(new Set([traceId]));
  });
});
