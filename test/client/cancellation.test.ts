import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { ActiveCalls } from '../../src/client/cancellation.js';
import { keptBytes } from '../support/kept-memory.js';

describe('a cancellation', () => {
  it('stops what is under way, once, and says why', () => {
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

  it('has a signal that is aborted already when it is asked for late', () => {
    const cancellation = new ActiveCalls().begin();
    cancellation.cancel('why');
    expect(cancellation.signal.reason).toBe('why');
  });
});

describe('the attempts of a call', () => {
  it('run side by side: cancelling one stops neither the others nor the call', () => {
    const call = new ActiveCalls().begin();
    const stopped: string[] = [];
    const [one, other] = [call.beginAttempt(), call.beginAttempt()];
    one.stop = () => stopped.push('one');
    other.stop = () => stopped.push('other');
    one.cancel(new Error('replica is gone'));
    expect([stopped, one.reason]).toEqual([['one'], new Error('replica is gone')]);
    expect([other.isCancelled, call.isCancelled]).toEqual([false, false]);
  });

  it('all stop, with their signals, when the call is cancelled, unless they ended before', () => {
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

describe('what is under way', () => {
  it('is cancelled by its signal, be that aborted before', () => {
    const [early, late] = [new AbortController(), new AbortController()];
    const underway = new ActiveCalls();
    early.abort('early');
    expect(underway.begin(early.signal).reason).toBe('early');
    const cancellation = underway.begin(late.signal);
    expect(cancellation.isCancelled).toBe(false);
    late.abort('late');
    expect(cancellation.reason).toBe('late');
  });

  it('is cancelled when all is closed, unless it has ended; nothing begins after that', () => {
    const underway = new ActiveCalls();
    const [one, ended] = [underway.begin(), underway.begin()];
    ended.end();
    underway.close(new Error('closed'));
    expect([one.isCancelled, ended.isCancelled]).toEqual([true, false]);
    expect(() => underway.begin()).toThrow('closed');
  });

  it('leaves nothing at its signal when it has ended', () => {
    const { signal } = new AbortController();
    const underway = new ActiveCalls();
    const bytes = keptBytes(() => {
      for (let n = 0; n < 100_000; n++) underway.begin(signal).end();
      return [signal, underway];
    });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(bytes).toBeLessThan(1_000_000);
  });
});
