import { afterEach, describe, expect, it } from 'vitest';
import type { RenewalReport } from '../../src/api/lease-renewal.js';
import { Renewals } from '../../src/client/renewals.js';
import type { ReplicaLoad } from '../../src/core/load.js';
import { ManualClock } from '../support/manual-clock.js';

const TTL_MS = 9000;

const started: Renewals[] = [];

afterEach(() => {
  for (const renewals of started.splice(0)) renewals.stop();
});

/** Starts renewals at a server that records the reports. While it is down, it accepts none. */
function startRenewals(getLoad: () => ReplicaLoad | undefined) {
  const clock = new ManualClock();
  const server = { isDown: false };
  const reports: RenewalReport[] = [];
  const renewals = new Renewals('ready', {
    renew: async (report) => {
      reports.push(report);
      if (server.isDown) throw new Error('down');
      return 'renewed';
    },
    ttlMs: TTL_MS,
    clock,
    getSeq: () => 1,
    getLoad,
    onEnd: () => {},
    onState: () => {},
    onMisrouted: () => {},
    onCapabilities: () => {},
  });
  started.push(renewals);
  renewals.start();
  /** Lets the time to the next renewal pass, and returns its load. */
  const renew = async (): Promise<ReplicaLoad | undefined> => {
    const count = reports.length;
    while (reports.length === count) {
      clock.advance(clock.nextDelayMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return reports.at(-1)?.load;
  };
  return { server, renew };
}

describe('a renewal', () => {
  it('reports the current load if it is known, also an unchanged one', async () => {
    let load: ReplicaLoad | undefined;
    const { server, renew } = startRenewals(() => load);
    expect(await renew()).toBeUndefined();
    load = { running: 4, waiting: 1, limit: 4 };
    expect(await renew()).toEqual(load);
    expect(await renew()).toEqual(load);
    server.isDown = true;
    load = { running: 0, waiting: 0, limit: 4 };
    expect(await renew()).toEqual(load);
    load = undefined;
    expect(await renew()).toBeUndefined();
  });
});
