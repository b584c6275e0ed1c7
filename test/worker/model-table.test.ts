import { describe, expect, it } from 'vitest';
import { App } from '../../src/worker/app.js';
import type { Model } from '../../src/worker/backend.js';
import { createModelTable } from '../../src/worker/model-table.js';

const app = new App()
  .capability({ type: 'chat', model: 'qwen2' }, () => ({}))
  .capability({ type: 'chat', model: 'llama' }, { name: 'talker', version: '3' }, () => ({}))
  .capability({ model: 'embedder', gpu: 1 }, () => ({}));
const table = createModelTable(app.models);

describe('ModelTable', () => {
  it("finds a model by its name, by the type of its capability, and by the capability's model", () => {
    expect(table.get('talker', '')).toBe(app.models[1]);
    expect(table.get('chat', '')).toBe(app.models[0]);
    expect(table.get('llama', '')).toBe(app.models[1]);
    expect(table.get('embedder', '')).toBe(app.models[2]);
  });

  it("finds a model by a version, which can be the capability's model", () => {
    expect(table.get('chat', 'llama')).toBe(app.models[1]);
    expect(table.get('talker', '3')).toBe(app.models[1]);
    expect(table.find('talker', '4')).toBeUndefined();
  });

  it('distinguishes the models', () => {
    const twins = createModelTable([
      ...new App()
        .capability({ type: 'chat', model: 'a' }, () => ({}))
        .capability({ type: 'chat', model: 'b' }, () => ({})).models,
    ]);
    expect(() => twins.get('chat', '')).toThrow(
      '2 models of this worker match "chat": {"type":"chat","model":"a"}, {"type":"chat","model":"b"}; use the "model" of one as the name or as the version',
    );
    expect(twins.get('chat', 'b').capabilities[0]?.source).toBe('{"type":"chat","model":"b"}');
    expect(twins.get('b', '').capabilities[0]?.source).toBe('{"type":"chat","model":"b"}');
  });

  it('returns the preferred model for a type that several have', () => {
    const [first, second] = new App()
      .capability({ type: 'chat', model: 'a' }, () => ({}))
      .capability({ type: 'chat', model: 'b' }, () => ({})).models as [Model, Model];
    const served = createModelTable([first, { ...second, preferred: true }]);
    expect(served.get('chat', '').capabilities[0]?.source).toBe('{"type":"chat","model":"b"}');
    expect(served.get('chat', 'a').capabilities[0]?.source).toBe('{"type":"chat","model":"a"}');
  });

  it('names the available models when another one is requested', () => {
    expect(() => table.get('nope', '')).toThrow(
      'this worker has no model "nope"; its models: "chat", "talker", "embedder"',
    );
    expect(() => table.get('chat', '9')).toThrow('this worker has no model "chat" version "9"');
  });
});

describe('an app', () => {
  it('rejects invalid handlers and declarations', () => {
    expect(() => new App().capability({ gpu: 1 }, () => ({}))).toThrow(
      `has no "type" or "model" that could be its model's name`,
    );
    expect(() => new App().capability({ type: 'x' }, undefined as never)).toThrow(
      'capability {"type":"x"} has no handler',
    );
    expect(() => new App().capability({ type: 'x' }, { inputs: { a: 'FLOAT' as never } }, () => ({}))).toThrow(
      'input "a": "FLOAT" is not a datatype',
    );
  });

  it('accepts a bare datatype for one dimension of any length, and ? for an optional input', () => {
    const [model] = new App().capability(
      { type: 'x' },
      { inputs: { a: 'FP32', b: 'INT64[2,-1]?' } },
      () => ({}),
    ).models;
    expect(model?.inputs).toEqual([
      { name: 'a', datatype: 'FP32', shape: [-1], optional: false },
      { name: 'b', datatype: 'INT64', shape: [2, -1], optional: true },
    ]);
  });
});
