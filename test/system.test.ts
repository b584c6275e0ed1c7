import { expect, it } from 'vitest';
import { clock } from '../src/system.js';

it('a task without a delay runs in the same turn of the event loop as what was put off just before', async () => {
  const ran: string[] = [];
  await new Promise<void>((resolve) => {
    setImmediate(() => ran.push('before'));
    clock.schedule(0, () => ran.push('task'));
    clock.schedule(-1, () => ran.push('task of the past'));
    clock.schedule(0, () => ran.push('called off'))();
    setImmediate(() => {
      ran.push('after');
      setTimeout(resolve, 5);
    });
  });
  expect(ran).toEqual(['before', 'task', 'task of the past', 'after']);
});
