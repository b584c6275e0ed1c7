import { describe, expect, it } from 'vitest';
import { Cancellation } from '../../src/client/cancellation.js';
import type { AttemptOutcome, Discovery, DiscoveryResult } from '../../src/client/discovery.js';
import { StickyDiscovery } from '../../src/client/sticky-discovery.js';
import { AnyserveError } from '../../src/core/errors.js';
import { asReplicaId } from '../../src/core/ids.js';
import { ManualClock } from '../support/manual-clock.js';

const ONE = { endpoint: '127.0.0.1:1', replicaId: asReplicaId('r1') };
const OTHER = { endpoint: '127.0.0.1:2', replicaId: asReplicaId('r2') };
const SUCCESS: AttemptOutcome = { kind: 'success', firstByteMs: 5 };

/** Creates a sticky discovery over a fake that returns these targets and records its requests and outcomes. */
function startSticky(responses: (DiscoveryResult | Error)[]) {
  const clock = new ManualClock();
  const requests: { excluded: string[]; timeoutMs: number }[] = [];
  const outcomes: AttemptOutcome[] = [];
  const discovery: Discovery = {
    hasOthers: true,
    lastTarget: undefined,
    async find(excluded, timeoutMs) {
      requests.push({ excluded: [...excluded], timeoutMs });
      const response = responses.shift();
      if (response === undefined || response instanceof Error) throw response;
      return response;
    },
    reportMessage: () => {},
    reportOutcome: (_target, outcome) => void outcomes.push(outcome),
    isListed: async () => true,
    close: () => {},
  };
  const sticky = new StickyDiscovery(discovery, clock);
  return { clock, requests, outcomes, sticky, find: () => sticky.find([], 3000, new Cancellation()) };
}

describe('StickyDiscovery', () => {
  it('discovers until a target has responded, then returns that target for 3 s without a request', async () => {
    const { clock, requests, sticky, find } = startSticky([
      { kind: 'found', target: ONE },
      { kind: 'found', target: OTHER },
    ]);
    expect(await find()).toEqual({ kind: 'found', target: ONE });
    expect(sticky.lastTarget).toBeUndefined();
    sticky.reportOutcome(ONE, SUCCESS);
    clock.advance(3000);
    expect(find()).toEqual({ kind: 'found', target: ONE });
    expect(requests).toHaveLength(1);
    clock.advance(1);
    expect(await find()).toEqual({ kind: 'found', target: OTHER });
    expect(requests[1]).toEqual({ excluded: [], timeoutMs: 1000 });
  });

  it('counts each message of a stream as a response', async () => {
    const { clock, requests, sticky, find } = startSticky([]);
    sticky.reportMessage(ONE);
    clock.advance(2000);
    sticky.reportMessage(ONE);
    clock.advance(2000);
    expect(find()).toEqual({ kind: 'found', target: ONE });
    expect(requests).toEqual([]);
  });

  it('leaves a failed target, except after an error in the request or a cancelled call', () => {
    const { sticky, outcomes } = startSticky([]);
    sticky.reportOutcome(ONE, SUCCESS);
    sticky.reportOutcome(ONE, { kind: 'failure', error: new AnyserveError('invalid_argument', 'no such input') });
    sticky.reportOutcome(ONE, { kind: 'abandoned' });
    sticky.reportOutcome(OTHER, { kind: 'failure', error: new AnyserveError('unavailable', 'gone') });
    expect(sticky.lastTarget).toBe(ONE);
    sticky.reportOutcome(ONE, { kind: 'failure', error: new AnyserveError('unavailable', 'gone') });
    expect(sticky.lastTarget).toBeUndefined();
    expect(outcomes.map(({ kind }) => kind)).toEqual(['success', 'failure', 'abandoned', 'failure', 'failure']);
  });

  it('keeps its target when no API server is reachable or one is warming up, but not when nothing matches', async () => {
    const { clock, sticky, find } = startSticky([
      new AnyserveError('server_unreachable', 'nobody there'),
      { kind: 'none', isWarming: true },
      { kind: 'none', isWarming: false },
    ]);
    sticky.reportOutcome(ONE, SUCCESS);
    clock.advance(3001);
    expect(await find()).toEqual({ kind: 'found', target: ONE });
    expect(await find()).toEqual({ kind: 'found', target: ONE });
    expect(await find()).toEqual({ kind: 'none', isWarming: false });
  });

  it('passes on the replicas to exclude', async () => {
    const { requests, sticky } = startSticky([{ kind: 'found', target: OTHER }]);
    sticky.reportOutcome(ONE, SUCCESS);
    await sticky.find([ONE.replicaId], 3000, new Cancellation());
    expect(requests).toEqual([{ excluded: ['r1'], timeoutMs: 3000 }]);
  });
});
