import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { ActiveCalls } from '../../src/client/cancellation.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

describe('a cancellation', () => {
  it('stops the call once and keeps the first reason', () => {
    const cancellation = new ActiveCalls().begin();
    const { signal } = cancellation;
    let stops = 0;
    cancellation.stop = () => stops++;
    expect(() => cancellation.throwIfCancelled()).not.toThrow();
    cancellation.cancel(new Error('enough'));
    cancellation.cancel(new Error('too much'));
    expect([stops, cancellation.isCancelled, signal.aborted, signal.reason]).toEqual([
      1,
      true,
      true,
      new Error('enough'),
    ]);
    expect(() => cancellation.throwIfCancelled()).toThrow('enough');
    expect(new ActiveCalls().begin().signal.aborted).toBe(false);
  });

  it('returns an aborted signal when the signal is first read after the cancellation', () => {
    const cancellation = new ActiveCalls().begin();
    cancellation.cancel('why');
    expect(cancellation.signal.reason).toBe('why');
  });
});

describe('the attempts of a call', () => {
  it('can be cancelled one by one, without effect on other attempts or the call', () => {
    const call = new ActiveCalls().begin();
    const stopped: string[] = [];
    const [one, other] = [call.beginAttempt(), call.beginAttempt()];
    one.stop = () => stopped.push('one');
    other.stop = () => stopped.push('other');
    one.cancel(new Error('replica is gone'));
    expect([stopped, one.reason]).toEqual([['one'], new Error('replica is gone')]);
    expect([other.isCancelled, call.isCancelled]).toEqual([false, false]);
  });

  it('are all stopped, and their signals aborted, when the call is cancelled; ended attempts are left alone', () => {
    const call = new ActiveCalls().begin();
    const stopped: string[] = [];
    const [ended, one, other] = [call.beginAttempt(), call.beginAttempt(), call.beginAttempt()];
    ended.stop = () => stopped.push('ended');
    one.stop = () => stopped.push('one');
    other.stop = () => stopped.push('other');
    const { signal } = other;
    call.endAttempt(ended);
    call.cancel('enough');
    expect([stopped, one.reason, signal.aborted, signal.reason]).toEqual([['one', 'other'], 'enough', true, 'enough']);
    expect(call.beginAttempt().reason).toBe('enough');
  });
});

describe('ActiveCalls', () => {
  it('cancels a call when its signal aborts, even if it was aborted before the call', () => {
    const [early, late] = [new AbortController(), new AbortController()];
    const activeCalls = new ActiveCalls();
    early.abort('early');
    expect(activeCalls.begin(early.signal).reason).toBe('early');
    const cancellation = activeCalls.begin(late.signal);
    expect(cancellation.isCancelled).toBe(false);
    late.abort('late');
    expect(cancellation.reason).toBe('late');
  });

  it('cancels the calls in progress when it is closed, and refuses new ones', () => {
    const activeCalls = new ActiveCalls();
    const [one, ended] = [activeCalls.begin(), activeCalls.begin()];
    ended.end();
    activeCalls.close(new Error('closed'));
    expect([one.isCancelled, ended.isCancelled]).toEqual([true, false]);
    expect(() => activeCalls.begin()).toThrow('closed');
  });

  it('leaves no listener on the signal when a call has ended', () => {
    const { signal } = new AbortController();
    const activeCalls = new ActiveCalls();
    const bytes = measureRetainedBytes(() => {
      for (let n = 0; n < 100_000; n++) activeCalls.begin(signal).end();
      return [signal, activeCalls];
    });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(bytes).toBeLessThan(1_000_000);
  });
});
