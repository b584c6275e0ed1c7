import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { GrpcJsCall } from '../../src/worker/grpc-js-workarounds.js';
import { type RequestReader, RequestWatchdog } from '../../src/worker/request-watchdog.js';
import { ManualClock } from '../support/manual-clock.js';

function watchCall() {
  const clock = new ManualClock();
  const calls = new RequestWatchdog(clock);
  const statuses: number[] = [];
  const stream = new EventEmitter();
  const call = { stream, sendStatus: ({ code }: { code: number }) => void statuses.push(code) } as never as GrpcJsCall;
  let isEnded = false;
  const intake = {
    lastProgressAtMs: clock.nowMs(),
    isWaiting: true,
    end: () => {
      isEnded = true;
    },
  };
  calls.add(call, intake as RequestReader, 10_000);
  return { clock, statuses, stream, intake, isEnded: () => isEnded };
}

describe('a call whose request is still arriving', () => {
  it('is ended when no more data arrives', () => {
    const { clock, statuses } = watchCall();
    clock.advance(9000);
    expect(statuses).toEqual([]);
    clock.advance(3000);
    expect(statuses[0]).toBe(4);
  });

  it('continues while data arrives, and after the request is complete', () => {
    const { clock, statuses, intake } = watchCall();
    for (let n = 0; n < 5; n++) {
      clock.advance(8000);
      intake.lastProgressAtMs = clock.nowMs();
    }
    intake.isWaiting = false;
    clock.advance(60_000);
    expect(statuses).toEqual([]);
  });

  it('is no longer watched when its stream closes', () => {
    const { clock, statuses, stream, isEnded } = watchCall();
    stream.emit('close');
    expect(isEnded()).toBe(true);
    clock.advance(60_000);
    expect(statuses).toEqual([]);
  });
});
