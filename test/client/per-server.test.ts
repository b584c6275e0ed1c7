import { expect, it } from 'vitest';
import { runForEachServer } from '../../src/client/per-server.js';
import type { ServerAddress } from '../../src/client/server-list.js';
import { toServer } from '../support/api-client.js';

/** A list of servers that a test changes. */
class ChangingList {
  readonly #servers: readonly ServerAddress[];
  onServers: (servers: readonly ServerAddress[]) => void = () => {};

  constructor(servers: readonly ServerAddress[]) {
    this.#servers = servers;
  }

  follow(onServers: (servers: readonly ServerAddress[]) => void, signal: AbortSignal): Promise<void> {
    this.onServers = onServers;
    onServers(this.#servers);
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
  }
}

const [a, b] = [toServer('a'), toServer('b')];

/** Runs tasks that each end when the test calls their function in `end`. */
function run(list: ChangingList) {
  const stop = new AbortController();
  const log: string[] = [];
  const end = new Map<ServerAddress, () => void>();
  const task = (server: ServerAddress, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      log.push(`${server.name} begins`);
      const onEnd = (): void => {
        log.push(`${server.name} ends`);
        resolve();
      };
      signal.addEventListener('abort', onEnd);
      end.set(server, onEnd);
    });
  const ended = runForEachServer(list, task, { signal: stop.signal });
  return { stop, log, end, ended };
}

it('begins a task for a server that the list has later, and ends that of one that left', async () => {
  const list = new ChangingList([a]);
  const { stop, log, ended } = run(list);
  list.onServers([a, b]);
  list.onServers([b]);
  expect(log).toEqual(['a begins', 'b begins', 'a ends']);
  stop.abort();
  await ended;
  expect(log.slice(3)).toEqual(['b ends']);
});

it('resolves when all tasks have ended, and begins none of them again', async () => {
  const list = new ChangingList([a, b]);
  const { log, end, ended } = run(list);
  end.get(a)?.();
  list.onServers([a, b]);
  end.get(b)?.();
  await ended;
  expect(log).toEqual(['a begins', 'b begins', 'a ends', 'b ends']);
});

it('begins no task when the signal is aborted already', async () => {
  const stop = new AbortController();
  stop.abort();
  await runForEachServer({ follow: async () => {} }, () => Promise.reject(new Error('begun')), { signal: stop.signal });
});
