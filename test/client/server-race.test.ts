import { expect, it } from 'vitest';
import { raceServers } from '../../src/client/server-race.js';
import { toServer } from '../support/api-client.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

interface PendingQuestion {
  readonly respond: (value: string) => void;
  readonly fail: () => void;
  readonly signal: AbortSignal;
}

/** Starts a race between servers whose responses the test sends. A response is enough if it begins with "yes". */
function startRace(...names: string[]) {
  const clock = new ManualClock();
  const asked = new Map<string, PendingQuestion>();
  const caller = new AbortController();
  const question = {
    ask: ({ name }: { readonly name: string }, signal: AbortSignal) =>
      new Promise<string>((respond, reject) => {
        asked.set(name, { respond, fail: () => reject(new Error(`${name} failed`)), signal });
      }),
    isEnough: (value: string) => value.startsWith('yes'),
    signal: caller.signal,
  };
  const result = raceServers(names.map(toServer), question, clock);
  const getQuestion = (name: string): PendingQuestion => asked.get(name) as PendingQuestion;
  return { clock, caller, result, getQuestion, listAsked: () => [...asked.keys()] };
}

it('asks only the first server if its response is enough', async () => {
  const { clock, result, getQuestion, listAsked } = startRace('a', 'b');
  getQuestion('a').respond('yes a');
  expect(await result).toEqual({ values: ['yes a'], failures: [], slow: [] });
  expect([listAsked(), clock.pending()]).toEqual([['a'], []]);
});

it('asks the next server beside one that has not responded for 300 ms, takes the first match, and names the slow one', async () => {
  const { clock, result, getQuestion, listAsked } = startRace('a', 'b', 'c');
  clock.advance(299);
  expect(listAsked()).toEqual(['a']);
  clock.advance(1);
  expect(listAsked()).toEqual(['a', 'b']);
  getQuestion('b').respond('yes b');
  expect(await result).toMatchObject({ values: ['yes b'], slow: [{ name: 'a' }] });
  expect(getQuestion('a').signal.aborted).toBe(true);
  expect(clock.pending()).toEqual([]);
});

it('asks the next server at once when one fails', async () => {
  const { result, getQuestion, listAsked } = startRace('a', 'b');
  getQuestion('a').fail();
  await until('b is asked', () => listAsked().length === 2);
  getQuestion('b').respond('yes b');
  expect(await result).toMatchObject({ values: ['yes b'], failures: [{ server: { name: 'a' } }] });
});

it('asks all other servers when a response is not enough, and takes a match of any of them', async () => {
  const { result, getQuestion, listAsked } = startRace('a', 'b', 'c');
  getQuestion('a').respond('no a');
  await until('all are asked', () => listAsked().length === 3);
  getQuestion('c').respond('yes c');
  expect((await result).values).toEqual(['yes c']);
});

it('reports no match only after every server has responded without one', async () => {
  const { result, getQuestion, listAsked } = startRace('a', 'b');
  getQuestion('a').respond('no a');
  await until('b is asked', () => listAsked().length === 2);
  getQuestion('b').respond('no b');
  expect((await result).values).toEqual(['no a', 'no b']);
});

it('waits 1 s for the other servers after a response that is not enough', async () => {
  const { clock, result, getQuestion, listAsked } = startRace('a', 'b');
  getQuestion('a').respond('no a');
  await until('b is asked', () => listAsked().length === 2);
  clock.advance(1000);
  expect(await result).toMatchObject({ values: ['no a'], slow: [{ name: 'b' }] });
  expect(getQuestion('b').signal.aborted).toBe(true);
});

it('has no values when all servers fail', async () => {
  const { result, getQuestion, listAsked } = startRace('a', 'b');
  getQuestion('a').fail();
  await until('b is asked', () => listAsked().length === 2);
  getQuestion('b').fail();
  expect(await result).toMatchObject({ values: [], failures: [{ server: { name: 'a' } }, { server: { name: 'b' } }] });
});

it('ends when the caller cancels it', async () => {
  const { clock, caller, result, getQuestion } = startRace('a', 'b');
  caller.abort(new Error('cancelled'));
  expect(await result).toEqual({ values: [], failures: [], slow: [] });
  expect(getQuestion('a').signal.reason).toEqual(new Error('cancelled'));
  expect(clock.pending()).toEqual([]);
});
