import { expect, it } from 'vitest';
import { asLeaseId } from '../../src/core/ids.js';
import { WHOLE_REGISTRY } from '../../src/core/scope.js';
import { ForeignLeases, type ForeignLeasesOptions } from '../../src/server/foreign-leases.js';
import type { ForwardFailure } from '../../src/server/lease-forwarder.js';
import { createRecordingEvents } from '../support/replicas.js';

type Forward = Parameters<ForeignLeases['forward']>;

/** Forwards a request that gets no response of the owner. Returns the status, or `unknown` for the response to an unknown lease. */
async function forward(lostForMs: number | undefined, kind: ForwardFailure): Promise<number | 'unknown' | undefined> {
  const forwarder: ForeignLeasesOptions['forwarder'] = { forward: async () => ({ kind, reason: 'why' }) };
  const registry = { id: undefined, scope: WHOLE_REGISTRY, locateLease: async () => ({ kind: 'unknown' }) as const };
  const leases = new ForeignLeases({ registry, events: createRecordingEvents(), forwarder });
  let status: number | 'unknown' | undefined;
  const response = {
    writeHead(sent: number) {
      status = sent;
      return this;
    },
    cork() {},
    write() {},
    uncork() {},
    end() {},
  } as unknown as Forward[0];
  const setUnknown = (): void => {
    status = 'unknown';
  };
  const location: Forward[1] = {
    kind: 'elsewhere',
    owner: { url: 'http://owner', lostForMs },
    registration: undefined,
  };
  const request: Forward[2] = { method: 'PUT', lease: asLeaseId('l') };
  await leases.forward(response, location, request, { superseded: setUnknown, unknown: setUnknown });
  return status;
}

it.each([
  ['is in the store', undefined, { absent: 503, unreachable: 503, unsent: 503 }],
  ['was lost by the store a moment ago', 0, { absent: 'unknown', unreachable: 503, unsent: 503 }],
  ['was lost 29.999 s ago', 29_999, { absent: 'unknown', unreachable: 503, unsent: 503 }],
  ['was lost 30 s ago', 30_000, { absent: 'unknown', unreachable: 'unknown', unsent: 503 }],
] as const)('without a response of an owner that %s', async (_which, lostForMs, expected) => {
  for (const kind of ['absent', 'unreachable', 'unsent'] as const)
    expect([kind, await forward(lostForMs, kind)]).toEqual([kind, expected[kind]]);
});
