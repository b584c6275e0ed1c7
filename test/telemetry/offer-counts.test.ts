import { expect, it } from 'vitest';
import { OfferCounts } from '../../src/telemetry/offer-counts.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';

const HOUR_MS = 3_600_000;

function createCounts(keys: readonly string[] = ['model']) {
  const clock = new ManualClock();
  const offers = new OfferCounts(keys, clock);
  const list = (): Record<string, number> =>
    Object.fromEntries([...offers.listSamples()].map(([values, count]) => [values.join(), count]));
  return { clock, offers, list };
}

it('a replica counts once for each model, however many objects name it', () => {
  const { offers, list } = createCounts();
  offers.add(replica('r1', { model: 'a', type: 'chat' }, { model: 'a', type: 'embed' }, { model: 'b' }, { gpu: 1 }));
  offers.add(replica('r2', { model: 'a' }));
  expect(list()).toEqual({ a: 2, b: 1 });
});

it('a model that nobody offers any more is listed with 0 for an hour', async () => {
  const { clock, offers, list } = createCounts();
  const one = replica('r1', { model: 'a' });
  offers.add(one);
  offers.remove(one);
  await clock.advance(HOUR_MS);
  expect(list()).toEqual({ a: 0 });
  await clock.advance(1);
  expect(list()).toEqual({});
});

it('a model that is offered again is not listed twice, and has a new hour after it left again', async () => {
  const { clock, offers, list } = createCounts();
  const one = replica('r1', { model: 'a' });
  offers.add(one);
  offers.remove(one);
  await clock.advance(HOUR_MS - 1);
  offers.add(one);
  expect([...offers.listSamples()]).toEqual([[['a'], 1]]);
  offers.remove(one);
  await clock.advance(HOUR_MS - 1);
  expect(list()).toEqual({ a: 0 });
});

it('lists at most 1,000 models, and remembers at most 1,000, however many are registered', () => {
  const { offers, list } = createCounts();
  const models = Array.from({ length: 5000 }, (_, index) => replica(`r${index}`, { model: `m${index}` }));
  for (const one of models) offers.add(one);
  expect(Object.keys(list())).toHaveLength(1000);
  for (const one of models) offers.remove(one);
  expect(Object.keys(list())).toHaveLength(1000);
  expect(list()).toHaveProperty('m4999', 0);
});

it('counts combinations of the values of several keys', () => {
  const { offers, list } = createCounts(['model', 'zone']);
  offers.add(replica('r1', { model: 'a', zone: '1' }));
  offers.add(replica('r2', { model: 'a' }));
  expect(list()).toEqual({ 'a,1': 1, 'a,': 1 });
});
