import { expect, it } from 'vitest';
import { toLoad } from '../../src/core/load.js';
import { WorkerLoad } from '../../src/worker/worker-load.js';

const LIMIT = 16;

/** Creates the load of a worker that runs 5 calls, 2 of its own callers waiting. */
function createLoad() {
  const own = { running: 5, waiting: 2, limit: LIMIT };
  return { own, load: new WorkerLoad(own) };
}

it('is that of the worker’s own calls while the engine’s is unknown', () => {
  const { own, load } = createLoad();
  expect(toLoad(load)).toEqual({ running: 5, waiting: 2, limit: LIMIT });
  own.running = 6;
  expect(toLoad(load)).toEqual({ running: 6, waiting: 2, limit: LIMIT });
});

it('is that of the engine, and the calls that wait in the worker', () => {
  const { load } = createLoad();
  load.setEngineLoad({ running: 9, waiting: 3 });
  expect(toLoad(load)).toEqual({ running: 9, waiting: 5, limit: LIMIT });
  load.setEngineLoad(undefined);
  expect(toLoad(load)).toEqual({ running: 5, waiting: 2, limit: LIMIT });
});

it('follows the worker’s own calls until the engine’s load is read again', () => {
  const { own, load } = createLoad();
  load.setEngineLoad({ running: 9, waiting: 3 });
  own.running = 7;
  expect(load.running).toBe(11);
  own.running = 0;
  expect(load.running).toBe(4);
  load.setEngineLoad({ running: 3, waiting: 0 });
  expect(load.running).toBe(3);
});

it('is at least that of the worker’s own calls, of which some can wait in the engine', () => {
  const { own, load } = createLoad();
  load.setEngineLoad({ running: 0, waiting: 0 });
  expect(load.running).toBe(5);
  load.setEngineLoad({ running: 1, waiting: 3 });
  expect(load.running).toBe(2);
  own.running = 0;
  expect(load.running).toBe(0);
});
