import { expect, it } from 'vitest';
import { clock } from '../src/system.js';

it('a task without a delay runs in the same turn of the event loop as an immediate queued before it', async () => {
  const ran: string[] = [];
  await new Promise<void>((resolve) => {
    setImmediate(() => ran.push('before'));
    clock.schedule(0, () => ran.push('task'));
    clock.schedule(-1, () => ran.push('overdue task'));
    clock.schedule(0, () => ran.push('cancelled'))();
    setImmediate(() => {
      ran.push('after');
      setTimeout(resolve, 5);
    });
  });
  expect(ran).toEqual(['before', 'task', 'overdue task', 'after']);
});
