import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PickerName } from '../src/client/client-options.js';
import { Client } from '../src/index.js';
import { repeatRequests } from '../test/support/repeated-requests.js';
import { until } from '../test/support/until.js';
import { type Started, start } from './child-process.js';
import { getProjectPath } from './project-file.js';

const WORKERS = 10;
const CALL_MS = 50;
const SLOW_MS = 500;
const CALLS_PER_SECOND = 100;

/** Time for calls that are not measured, so that all connections are open, and for those that are. */
const WARM_UP_MS = 2000;
const MEASURED_MS = 10_000;

/** Time after the first measured call at which a worker is killed, in ms. */
const KILL_AFTER_MS = 3000;

/** Figures of the calls of one client. */
export interface RealCalls {
  readonly durationsMs: readonly number[];
  readonly failedCalls: number;
  readonly attemptsPerCall: number;
}

/** An API server and ten workers, in processes of their own. */
export class RealFleet {
  readonly #folder = mkdtempSync(join(tmpdir(), 'anyserve-bench-'));
  readonly #serverUrl: string;
  readonly #workers: Started[] = [];

  private constructor(serverUrl: string) {
    this.#serverUrl = serverUrl;
  }

  /** Starts the fleet. Its workers are all equally fast. */
  static async start(): Promise<RealFleet> {
    const { line } = await start(createCommand('serve', '--port', '0'), { until: /listening on/ });
    const fleet = new RealFleet(/listening on (\S+)/.exec(line)?.[1] as string);
    for (let n = 0; n < WORKERS; n++) fleet.#workers.push(await fleet.#startWorker(CALL_MS));
    return fleet;
  }

  /** Replaces the first worker by one that is slow. */
  async slowDown(): Promise<void> {
    this.kill();
    this.#workers[0] = await this.#startWorker(SLOW_MS);
  }

  /** Replaces the first worker by one that is as fast as the others. */
  async repair(): Promise<void> {
    this.kill();
    this.#workers[0] = await this.#startWorker(CALL_MS);
  }

  /** Kills the first worker. */
  kill(): void {
    this.#workers[0]?.child.kill('SIGKILL');
  }

  /** Makes calls at a rate with a new client. With `kills`, a worker is killed meanwhile. */
  async measure(pick: PickerName, { kills = false } = {}): Promise<RealCalls> {
    let attempts = 0;
    const client = new Client({
      server: this.#serverUrl,
      capability: { type: 'wait' },
      pick,
      onAttempt: ({ kind }) => void (kind === 'attempt_started' && attempts++),
    });
    await until('the client knows all workers', async () => (await client.replicas()).length === WORKERS, 30_000);
    const durationsMs: number[] = [];
    const call = async (): Promise<void> => {
      const startedAtMs = performance.now();
      await client.infer('wait', {});
      durationsMs.push(performance.now() - startedAtMs);
    };
    const unmeasured = repeatRequests(CALLS_PER_SECOND, call);
    await sleep(WARM_UP_MS);
    await unmeasured.stop();
    durationsMs.length = 0;
    attempts = 0;
    const measured = repeatRequests(CALLS_PER_SECOND, call);
    await sleep(KILL_AFTER_MS);
    if (kills) this.kill();
    await sleep(MEASURED_MS - KILL_AFTER_MS);
    await measured.stop();
    await client.close();
    const failedCalls = measured.failures.length;
    return { durationsMs, failedCalls, attemptsPerCall: attempts / measured.getCount() };
  }

  stop(): void {
    for (const { child } of this.#workers) child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true });
  }

  /** Starts a worker whose model responds after a time. */
  #startWorker(ms: number): Promise<Started> {
    const file = join(this.#folder, `wait-${ms}.mjs`);
    writeFileSync(file, formatModel(ms));
    const args = ['worker', file, '--port', '0', '--server', this.#serverUrl];
    return start(createCommand(...args), { until: /registered/ });
  }
}

const createCommand = (...args: string[]): [string, ...string[]] => [
  process.execPath,
  getProjectPath('bin/anyserve.js'),
  ...args,
];

const formatModel = (ms: number): string => `export default (app) => app.capability({ type: 'wait' }, async () => {
  await new Promise((resolve) => setTimeout(resolve, ${ms}));
  return { ok: [true] };
});`;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
