import { expect, it } from 'vitest';
import { clock, formatLocalTime, formatLogTime } from '../src/system.js';

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

it('the local time of a moment has its date only if that is not today', () => {
  const midnight = new Date().setHours(0, 0, 0, 0);
  expect(formatLocalTime(midnight + 1000)).toBe('00:00:01');
  expect(formatLocalTime(new Date(2024, 1, 3, 14, 3, 7).getTime())).toBe('2024-02-03 14:03:07');
});

it.each([
  ['UTC', '2024-02-03T14:03:07+00:00'],
  ['Asia/Kolkata', '2024-02-03T19:33:07+05:30'],
  ['America/St_Johns', '2024-02-03T10:33:07-03:30'],
])('the time of a log line has the offset of the zone %s', (zone, text) => {
  const before = process.env['TZ'];
  process.env['TZ'] = zone;
  try {
    expect(formatLogTime(Date.UTC(2024, 1, 3, 14, 3, 7))).toBe(text);
  } finally {
    if (before === undefined) delete process.env['TZ'];
    else process.env['TZ'] = before;
  }
});
