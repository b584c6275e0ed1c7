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

interface Probe {
  readonly signal: AbortSignal;
  succeed(): void;
  fail(error: unknown): void;
}

/** Creates a watch with a manual clock, whose probes the test settles. */
function startWatch() {
  const clock = new ManualClock();
  const changes: HealthChange[] = [];
  const probes: Probe[] = [];
  const watch = new HealthWatch({
    clock,
    onChange: (change) => changes.push(change),
    probe: (signal) =>
      new Promise((succeed, fail) => {
        probes.push({ signal, succeed, fail });
      }),
  });
  watches.push(watch);
  watch.start();
  const waitForProbe = async (count: number): Promise<Probe> => {
    await until(`it looks for the ${count}. time`, () => probes.length >= count);
    return probes[count - 1] as Probe;
  };
  /** Waits until the current probe has ended, and expects the next one after this delay. */
  const expectNextProbeAfter = async (ms: number): Promise<void> => {
    await new Promise(setImmediate);
    expect(clock.pending()).toEqual([ms]);
  };
  return { watch, clock, changes, probes, waitForProbe, expectNextProbeAfter };
}

describe('HealthWatch', () => {
  it('probes at once, and then every 3 s', async () => {
    const { clock, changes, probes, waitForProbe, expectNextProbeAfter } = startWatch();
    (await waitForProbe(1)).succeed();
    await expectNextProbeAfter(3000);
    expect(changes).toEqual([{ kind: 'healthy' }]);
    clock.advance(2999);
    expect(probes).toHaveLength(1);
    clock.advance(1);
    (await waitForProbe(2)).succeed();
    await expectNextProbeAfter(3000);
    expect(changes).toHaveLength(1);
  });

  it('aborts a probe after 1 s, counts it as failed, and probes again after 1 s', async () => {
    const { clock, changes, waitForProbe, expectNextProbeAfter } = startWatch();
    (await waitForProbe(1)).succeed();
    await expectNextProbeAfter(3000);
    clock.advance(3000);
    for (let count = 2; count <= 4; count++) {
      const slow = await waitForProbe(count);
      expect(changes).toEqual([{ kind: 'healthy' }]);
      clock.advance(999);
      expect(slow.signal.aborted).toBe(false);
      clock.advance(1);
      expect(slow.signal.aborted).toBe(true);
      await expectNextProbeAfter(1000);
      if (count < 4) clock.advance(1000);
    }
    expect(changes).toEqual([{ kind: 'healthy' }, { kind: 'unhealthy', reason: 'no response within 1 s' }]);
  });

  it('reports a refused connection at once, and other failures after the third one', async () => {
    const { clock, changes, waitForProbe, expectNextProbeAfter } = startWatch();
    (await waitForProbe(1)).succeed();
    await expectNextProbeAfter(3000);
    clock.advance(3000);
    (await waitForProbe(2)).fail(new Error('reset'));
    await expectNextProbeAfter(1000);
    expect(changes).toHaveLength(1);
    clock.advance(1000);
    (await waitForProbe(3)).fail(new AnyserveError('unavailable', 'nothing listens there'));
    await expectNextProbeAfter(1000);
    expect(changes.at(-1)).toEqual({ kind: 'unhealthy', reason: 'nothing listens there' });
    clock.advance(1000);
    (await waitForProbe(4)).succeed();
    await expectNextProbeAfter(3000);
    expect(changes.at(-1)).toEqual({ kind: 'healthy' });
  });

  it('probes at once on checkNow(), and again after a probe that was already running', async () => {
    const { watch, changes, probes, waitForProbe, expectNextProbeAfter } = startWatch();
    (await waitForProbe(1)).succeed();
    await expectNextProbeAfter(3000);
    watch.checkNow();
    const second = await waitForProbe(2);
    watch.checkNow();
    watch.checkNow();
    expect(probes).toHaveLength(2);
    second.succeed();
    (await waitForProbe(3)).fail(new AnyserveError('unavailable', 'gone'));
    await expectNextProbeAfter(1000);
    expect(probes).toHaveLength(3);
    expect(changes).toEqual([{ kind: 'healthy' }, { kind: 'unhealthy', reason: 'gone' }]);
  });

  it('reports nothing after stop(), and leaves no timer', async () => {
    const idle = startWatch();
    (await idle.waitForProbe(1)).succeed();
    await idle.expectNextProbeAfter(3000);
    idle.watch.stop();
    expect(idle.clock.pending()).toEqual([]);
    const probing = startWatch();
    const { signal } = await probing.waitForProbe(1);
    probing.watch.stop();
    expect(signal.aborted).toBe(true);
    await new Promise(setImmediate);
    expect(probing.clock.pending()).toEqual([]);
    expect(probing.changes).toEqual([]);
    idle.watch.checkNow();
    expect(idle.probes).toHaveLength(1);
  });
});
