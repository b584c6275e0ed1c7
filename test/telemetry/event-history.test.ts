import { beforeEach, describe, expect, it } from 'vitest';
import { EventHistory } from '../../src/telemetry/event-history.js';
import { ManualClock } from '../support/manual-clock.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

/** An event of the tests. `size` is the length of its data. */
interface TestEvent {
  readonly kind: string;
  readonly size?: number;
  readonly character?: string;
}

let clock: ManualClock;
let history: EventHistory<TestEvent>;

beforeEach(() => {
  clock = new ManualClock();
  history = new EventHistory({
    epoch: 'e',
    clock,
    serialize({ kind, size = 0, character = 'x' }, { seq, atMs }) {
      if (kind === 'ignored') return undefined;
      const data = size > 0 ? character.repeat(size) : `${kind} ${seq} ${atMs}`;
      return { kind, replicaId: undefined, data, isRefusal: kind === 'refused' };
    },
  });
});

const record = (kind: string, count = 1, more: Partial<TestEvent> = {}): void => {
  for (let n = 0; n < count; n++) history.record({ kind, ...more });
};

const listSeqs = (after = 0): number[] => [...history.listAfter(after)].map(({ seq }) => seq);

describe('the history', () => {
  it('numbers events from 1 and stamps them with the wall-clock time', () => {
    expect([history.lastSeq, listSeqs()]).toEqual([0, []]);
    record('a');
    clock.advance(5);
    record('ignored');
    record('refused');
    expect([...history.listAfter(0)].map(({ data }) => data)).toEqual(['a 1 1700000000000', 'refused 2 1700000000005']);
    expect(history.lastSeq).toBe(2);
  });

  it('lists the events after any number, in order over both shares', () => {
    for (let n = 0; n < 20; n++) record(n % 3 === 1 ? 'refused' : 'a');
    for (let after = 0; after <= 21; after++) {
      expect(listSeqs(after)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1).filter((seq) => seq > after));
    }
  });

  it('keeps the last 10,000 events', () => {
    record('a', 10_000);
    expect([listSeqs().length, history.droppedSeq]).toEqual([10_000, 0]);
    record('a', 25_001);
    expect([listSeqs().length, listSeqs()[0], listSeqs().at(-1)]).toEqual([10_000, 25_002, 35_001]);
    expect(history.droppedSeq).toBe(25_001);
    expect(listSeqs(30_000)).toHaveLength(5001);
  });

  it('keeps all other events, whatever strangers cause', () => {
    record('a', 3);
    record('refused', 50_000);
    record('a');
    expect(listSeqs().slice(0, 4)).toEqual([1, 2, 3, 49_004]);
    expect(listSeqs()).toHaveLength(1004);
    expect(history.droppedSeq).toBe(0);
  });

  it('keeps at most 8 MiB', () => {
    record('a', 10_000, { size: 2000 });
    record('refused', 1000, { size: 2000, character: '語' });
    expect(history.bytes).toBeLessThanOrEqual(8 * 1024 * 1024);
    expect(history.bytes).toBeGreaterThan(7.9 * 1024 * 1024);
    const kinds = [...history.listAfter(0)].map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'a').length).toBe(Math.floor((7 * 1024 * 1024) / 2350));
    expect(kinds.filter((kind) => kind === 'refused').length).toBe(Math.floor((1024 * 1024) / 4350));
  });

  it('takes no more memory than it estimates', async () => {
    const create = (): typeof history =>
      new EventHistory({
        epoch: 'e',
        clock,
        serialize: ({ kind }, { seq }) => {
          const data = JSON.parse(`"${'語'.repeat(seq % 2 === 0 ? 0 : 100)}${'x'.repeat(300)}"`) as string;
          return { kind, replicaId: undefined, data, isRefusal: kind === 'refused' };
        },
      });
    const measured: number[] = [];
    for (let round = 0; round < 4; round++) {
      // The previous history is garbage from here on, but V8 can free it as late as in the next task.
      history = create();
      await new Promise((resolve) => setImmediate(resolve));
      measured.push(
        measureRetainedBytes(() => {
          record('a', 30_000);
          record('refused', 30_000);
          return history;
        }),
      );
    }
    const retainedBytes = Math.max(...measured);
    expect(retainedBytes).toBeLessThan(history.bytes * 1.05);
    expect(retainedBytes).toBeGreaterThan(4 * 1024 * 1024);
  });

  it('notifies its listeners after each event that it keeps', () => {
    const seen: number[] = [];
    const unsubscribe = history.subscribe(() => void seen.push(history.lastSeq));
    record('a');
    record('ignored');
    record('refused');
    unsubscribe();
    record('a');
    expect(seen).toEqual([1, 2]);
  });
});
