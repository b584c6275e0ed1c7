import cluster, { type Worker } from 'node:cluster';
import type { Readable } from 'node:stream';
import { type Backoff, createBackoff, STABLE_AFTER_MS } from '../../client/backoff.js';
import type { Clock, Log, Random } from '../../core/ports.js';
import { MetricsRequests } from './metrics-requests.js';
import { type MessageToPrimary, sendToProcess } from './process-messages.js';

/** Options of a {@link ProcessPool}. */
export interface ProcessPoolOptions {
  readonly count: number;
  /** Writes lines of the processes to stdout. */
  readonly writeOutput: (lines: string) => void;
  /** Writes lines of the processes to stderr. */
  readonly writeError: (lines: string) => void;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
}

/** How the start of a pool ended: it listens, or its first process has reported why it can't. */
export type PoolStart =
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'failed'; readonly exitCode: number };

/**
 * Processes that run the command line of this one and share its port (`node:cluster`). This process, the primary, accepts the
 * connections and hands each to one of them in turn. It replaces a process that ends.
 */
export class ProcessPool {
  readonly #options: ProcessPoolOptions;
  readonly #running = new Set<Worker>();
  readonly #metrics: MetricsRequests;
  #isStopping = false;
  #onListening = (_url: string): void => {};
  #onAllEnded = (): void => {};

  constructor(options: ProcessPoolOptions) {
    this.#options = options;
    this.#metrics = new MetricsRequests(options.clock, this.#running);
    cluster.setupPrimary({ stdio: ['ignore', 'pipe', 'pipe', 'ipc'], serialization: 'advanced' });
  }

  /** Starts the first process, and the others when it listens, so that an invalid option is reported once. */
  async start(): Promise<PoolStart> {
    const started = await new Promise<PoolStart>((resolve) => {
      this.#onListening = (url) => resolve({ kind: 'listening', url });
      const first = this.#fork();
      first.on('exit', (code) => resolve({ kind: 'failed', exitCode: code || 1 }));
      first.once('message', () => this.#replaceWhenEnded(first, this.#createBackoff()));
    });
    if (started.kind === 'failed') return started;
    for (let index = 1; index < this.#options.count && !this.#isStopping; index++)
      this.#startProcess(this.#createBackoff());
    return started;
  }

  /** Asks all processes to drain and exit, and kills those that have not after this time. Resolves when all have ended. */
  async stop(signal: NodeJS.Signals, graceMs: number): Promise<void> {
    this.#isStopping = true;
    if (this.#running.size === 0) return;
    for (const worker of this.#running) sendToProcess(worker, { kind: 'stop', signal });
    const cancelKill = this.#options.clock.schedule(graceMs, () => {
      for (const worker of this.#running) worker.process.kill('SIGKILL');
    });
    await new Promise<void>((resolve) => {
      this.#onAllEnded = resolve;
    });
    cancelKill();
  }

  #createBackoff(): Backoff {
    return createBackoff(this.#options.random);
  }

  #startProcess(backoff: Backoff): void {
    this.#replaceWhenEnded(this.#fork(), backoff);
  }

  #replaceWhenEnded(worker: Worker, backoff: Backoff): void {
    const { clock, log } = this.#options;
    const startedAtMs = clock.nowMs();
    worker.on('exit', (code, signal) => {
      if (this.#isStopping) return;
      if (clock.nowMs() - startedAtMs >= STABLE_AFTER_MS) backoff.reset();
      const delayMs = backoff.computeNextDelayMs();
      const how = signal ? `was ended by ${signal}` : `has ended with exit code ${code}`;
      const { pid } = worker.process;
      log.warn(`process ${pid} ${how}; another one starts in ${(delayMs / 1000).toFixed(1)} s`, {
        event: 'process_ended',
        pid,
        exit_code: code,
        signal,
        restart_after_ms: Math.round(delayMs),
      });
      clock.schedule(delayMs, () => {
        if (!this.#isStopping) this.#startProcess(backoff);
      });
    });
  }

  #fork(): Worker {
    const { writeOutput, writeError } = this.#options;
    const worker = cluster.fork();
    this.#running.add(worker);
    forwardLines(worker.process.stdout, writeOutput);
    forwardLines(worker.process.stderr, writeError);
    worker.on('message', (message: MessageToPrimary) => {
      if (message.kind === 'listening') this.#onListening(message.url);
      else this.#metrics.receive(worker, message);
    });
    worker.on('exit', () => {
      this.#running.delete(worker);
      this.#metrics.recordEnd(worker);
      if (this.#running.size === 0) this.#onAllEnded();
    });
    // Without a listener, the error of a message to a process that has just ended would be thrown.
    worker.on('error', () => {});
    return worker;
  }
}

/** Passes complete lines on, so that lines of several processes don't mix. */
function forwardLines(stream: Readable | null, write: (lines: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (text: string) => {
    const end = text.lastIndexOf('\n') + 1;
    if (end > 0) write(rest + text.slice(0, end));
    rest = end > 0 ? text.slice(end) : rest + text;
  });
  stream?.on('end', () => {
    if (rest !== '') write(`${rest}\n`);
  });
}
