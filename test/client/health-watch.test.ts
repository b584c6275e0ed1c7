import { afterEach, describe, expect, it } from 'vitest';
import { HealthWatch } from '../../src/client/health-watch.js';
import { AnyserveError } from '../../src/core/errors.js';
import type { HealthChange } from '../../src/core/health.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const watches: HealthWatch[] = [];

afterEach(() => {
  for (const watch of watches.splice(0)) watch.stop();
});

interface Look {
  readonly signal: AbortSignal;
  succeed(): void;
  fail(error: unknown): void;
}

/** A watch whose time and looks a test is the master of. */
function watched() {
  const clock = new ManualClock();
  const changes: HealthChange[] = [];
  const looks: Look[] = [];
  const watch = new HealthWatch({
    clock,
    onChange: (change) => changes.push(change),
    probe: (signal) =>
      new Promise((succeed, fail) => {
        looks.push({ signal, succeed, fail });
      }),
  });
  watches.push(watch);
  watch.start();
  const look = async (count: number): Promise<Look> => {
    await until(`it looks for the ${count}. time`, () => looks.length >= count);
    return looks[count - 1] as Look;
  };
  /** The look under way has ended, and the next comes after so long. */
  const rests = async (ms: number): Promise<void> => {
    await new Promise(setImmediate);
    expect(clock.pending()).toEqual([ms]);
  };
  return { watch, clock, changes, looks, look, rests };
}

describe('a health watch', () => {
  it('looks at once, and then every 3 s', async () => {
    const { clock, changes, looks, look, rests } = watched();
    (await look(1)).succeed();
    await rests(3000);
    expect(changes).toEqual([{ kind: 'healthy' }]);
    clock.advance(2999);
    expect(looks).toHaveLength(1);
    clock.advance(1);
    (await look(2)).succeed();
    await rests(3000);
    expect(changes).toHaveLength(1);
  });

  it('takes a look of over 1 s for failed, ends it, and looks again after 1 s', async () => {
    const { clock, changes, look, rests } = watched();
    (await look(1)).succeed();
    await rests(3000);
    clock.advance(3000);
    for (let count = 2; count <= 4; count++) {
      const late = await look(count);
      expect(changes).toEqual([{ kind: 'healthy' }]);
      clock.advance(999);
      expect(late.signal.aborted).toBe(false);
      clock.advance(1);
      expect(late.signal.aborted).toBe(true);
      await rests(1000);
      if (count < 4) clock.advance(1000);
    }
    expect(changes).toEqual([{ kind: 'healthy' }, { kind: 'unhealthy', reason: 'no response within 1 s' }]);
  });

  it('believes a refusal at once, and another failure only the third time', async () => {
    const { clock, changes, look, rests } = watched();
    (await look(1)).succeed();
    await rests(3000);
    clock.advance(3000);
    (await look(2)).fail(new Error('reset'));
    await rests(1000);
    expect(changes).toHaveLength(1);
    clock.advance(1000);
    (await look(3)).fail(new AnyserveError('unavailable', 'nothing listens there'));
    await rests(1000);
    expect(changes.at(-1)).toEqual({ kind: 'unhealthy', reason: 'nothing listens there' });
    clock.advance(1000);
    (await look(4)).succeed();
    await rests(3000);
    expect(changes.at(-1)).toEqual({ kind: 'healthy' });
  });

  it('looks at once when it is told to, and again when it is just looking', async () => {
    const { watch, changes, looks, look, rests } = watched();
    (await look(1)).succeed();
    await rests(3000);
    watch.checkNow();
    const second = await look(2);
    watch.checkNow();
    watch.checkNow();
    expect(looks).toHaveLength(2);
    second.succeed();
    (await look(3)).fail(new AnyserveError('unavailable', 'gone'));
    await rests(1000);
    expect(looks).toHaveLength(3);
    expect(changes).toEqual([{ kind: 'healthy' }, { kind: 'unhealthy', reason: 'gone' }]);
  });

  it('tells nothing more once it is stopped, and leaves nothing behind', async () => {
    const resting = watched();
    (await resting.look(1)).succeed();
    await resting.rests(3000);
    resting.watch.stop();
    expect(resting.clock.pending()).toEqual([]);
    const looking = watched();
    const { signal } = await looking.look(1);
    looking.watch.stop();
    expect(signal.aborted).toBe(true);
    await new Promise(setImmediate);
    expect(looking.clock.pending()).toEqual([]);
    expect(looking.changes).toEqual([]);
    resting.watch.checkNow();
    expect(resting.looks).toHaveLength(1);
  });
});
