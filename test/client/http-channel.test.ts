import { expect, it } from 'vitest';
import type { Attempt } from '../../src/client/attempt.js';
import { Cancellation } from '../../src/client/cancellation.js';
import { type HttpChannel, HttpChannels } from '../../src/client/http-calls/http-channel.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { startHttpEngine } from '../support/http-engine.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const keep = closeAfterEach();

/** Begins a call of an engine that sends one byte when it is asked to, with a first-byte limit of 60 s and an idle limit of 10 s. */
async function begin() {
  const clock = new ManualClock();
  let send = (): void => {};
  const engine = keep(
    await startHttpEngine((_request, response) => {
      send = () => void response.write('1');
    }),
  );
  const limits = { firstByteTimeoutMs: 60_000, idleTimeoutMs: 10_000 };
  const channels = keep(new HttpChannels({ clock, getAuthorization: () => undefined, ...limits }));
  const options = { cancellation: new Cancellation(), deadlineEpochMs: clock.epochMs() + 1e6, timeoutMs: 1e6 };
  const attempt = {
    ...options,
    channel: { endpoint: engine.url },
    headers: undefined,
    onLoad() {},
    lastMessageAtMs: clock.nowMs(),
    recordMessage() {
      attempt.lastMessageAtMs = clock.nowMs();
    },
  };
  const call = { method: 'POST', path: '/x', headers: [], body: [], model: 'm' };
  const opened = channels.get(engine.url).request(call, attempt as unknown as Attempt<HttpChannel>);
  opened.catch(() => {});
  await until('the engine has the call', () => engine.requests.length === 1);
  /** Lets the engine send, and the time pass. */
  const open = async (afterMs: number) => {
    clock.advance(afterMs);
    send();
    const response = await opened;
    const failures: unknown[] = [];
    response.pipe({ onBody() {}, onEnd() {}, onFailure: (error) => failures.push(error) });
    return { response, failures };
  };
  return { clock, attempt, opened, open };
}

it('a response without a byte fails after the first-byte limit', async () => {
  const { clock, opened } = await begin();
  clock.advance(59_999);
  clock.advance(1);
  await expect(opened).rejects.toThrow('no byte of the response arrived for 60s');
});

it.each([1, 9_000, 45_000])(
  'a response whose first byte comes after %i ms fails after the idle limit',
  async (afterMs) => {
    const { clock, open } = await begin();
    const { response, failures } = await open(afterMs);
    response.resume();
    clock.advance(9_999);
    expect(failures).toEqual([]);
    clock.advance(1);
    expect(failures).toMatchObject([{ code: 'deadline_exceeded', message: 'the response was silent for 10s' }]);
  },
);

it('a response that its caller does not read is not silent', async () => {
  const { clock, open, attempt } = await begin();
  const { response, failures } = await open(1);
  response.pause();
  for (let second = 0; second < 60; second++) clock.advance(1000);
  expect(failures).toEqual([]);
  attempt.recordMessage();
  response.resume();
  clock.advance(9_999);
  expect(failures).toEqual([]);
  clock.advance(1);
  expect(failures.length).toBe(1);
});
