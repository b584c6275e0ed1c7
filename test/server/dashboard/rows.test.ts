import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RowColumn, sortRows, toggleOrder } from '../../../src/server/dashboard/row-order.js';
import { computeWindow, moveByKey, scrollToRow } from '../../../src/server/dashboard/row-window.js';
import { fleetRow } from '../../support/fleet-rows.js';

describe('the order of the replicas', () => {
  const rows = [
    fleetRow('r10', [{ a: 2 }], { since: 30, last_seen: 90, load: { running: 5, waiting: 0 } }),
    fleetRow('r2', [{ a: 1 }], { since: 10, ttl: null, state: 'unready' }),
    fleetRow('r1', [{ a: 3 }], { since: 20, last_seen: 95, state: 'suspect', load: { running: 2, waiting: 7 } }),
  ];
  const sort = (column: RowColumn, isDescending = false): string =>
    sortRows(rows, { column, isDescending })
      .map(({ id }) => id)
      .join(' ');

  it.each<[RowColumn, string, string]>([
    ['id', 'r1 r2 r10', 'r10 r2 r1'],
    ['endpoint', 'r1 r10 r2', 'r2 r10 r1'],
    ['state', 'r10 r1 r2', 'r2 r1 r10'],
    ['since', 'r10 r1 r2', 'r2 r1 r10'],
    ['capabilities', 'r2 r10 r1', 'r1 r10 r2'],
    ['running', 'r1 r10 r2', 'r10 r1 r2'],
    ['waiting', 'r10 r1 r2', 'r1 r10 r2'],
    ['seen', 'r1 r10 r2', 'r10 r1 r2'],
  ])('by %s is %s, or %s', (column, ascending, descending) => {
    expect([sort(column), sort(column, true)]).toEqual([ascending, descending]);
  });

  it('is turned around by a second click', () => {
    const first = toggleOrder({ column: 'id', isDescending: false }, 'running', () => true);
    expect(first).toEqual({ column: 'running', isDescending: true });
    expect(toggleOrder(first, 'running')).toEqual({ column: 'running', isDescending: false });
    expect(toggleOrder(first, 'id')).toEqual({ column: 'id', isDescending: false });
  });
});

describe('the window of rows', () => {
  it('has all visible rows, and few others, at any position', () => {
    const sizes = fc.record({
      count: fc.nat(20_000),
      rowHeight: fc.integer({ min: 20, max: 90 }),
      height: fc.nat(3000),
      scroll: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(sizes, ({ count, rowHeight, height, scroll }) => {
        const scrollTop = scroll * Math.max(0, count * rowHeight - height);
        const { start, end } = computeWindow({ count, rowHeight, scrollTop, height });
        const [first, last] = [Math.floor(scrollTop / rowHeight), Math.ceil((scrollTop + height) / rowHeight)];
        expect(start).toBeGreaterThanOrEqual(0);
        expect(start).toBeLessThanOrEqual(first);
        expect(end).toBeGreaterThanOrEqual(Math.min(last, count));
        expect(end).toBeLessThanOrEqual(count);
        expect(end - start).toBeLessThanOrEqual(height / rowHeight + 32);
      }),
    );
  });

  it('stays the same while a few rows are scrolled', () => {
    const at = (scrollTop: number) => computeWindow({ count: 10_000, rowHeight: 36, scrollTop, height: 600 });
    expect(at(36 * 101)).toEqual(at(36 * 100 - 36 * 4));
    expect(at(36 * 102)).not.toEqual(at(36 * 101));
  });

  it('shows the end of a list that became shorter', () => {
    const { start, end } = computeWindow({ count: 5, rowHeight: 36, scrollTop: 100_000, height: 600 });
    expect([start, end]).toEqual([0, 5]);
  });

  it('scrolls only as far as necessary', () => {
    const view = { rowHeight: 10, scrollTop: 100, height: 50 };
    expect([5, 10, 14, 15].map((index) => scrollToRow(index, view))).toEqual([50, 100, 100, 110]);
  });

  it.each([
    ['ArrowDown', -1, 0],
    ['ArrowDown', 9, 9],
    ['ArrowUp', 0, 0],
    ['PageDown', 2, 6],
    ['PageUp', 2, 0],
    ['Home', 7, 0],
    ['End', 3, 9],
    ['a', 3, undefined],
  ])('%s goes from row %i to %s', (key, from, to) => {
    expect(moveByKey(key, from, 10, 4)).toBe(to);
  });
});
