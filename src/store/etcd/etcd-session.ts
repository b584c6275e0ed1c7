import type { Clock, Random } from '../../core/ports.js';
import { type EtcdApi, type EtcdStream, toEtcdError } from './etcd-api.js';
import { createRetryDelays } from './retry-delays.js';

/** Dependencies of a session. */
export interface EtcdSessionOptions {
  readonly api: Pick<EtcdApi, 'grantLease' | 'openKeepAlive'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Called for each new lease: keys that were attached to the one before are gone, or will be. */
  readonly onLease: (lease: bigint) => void;
}

/** TTL of the lease of an API server, in seconds. A killed server's replicas are gone after it, and a pause of etcd's leader extends it. */
const LEASE_TTL_S = 15;

const RENEWAL_INTERVAL_MS = 3000;

/** Maximum time until the response to a renewal, in ms. An etcd that is frozen keeps the stream open, so only silence shows it. */
const WATCHDOG_MS = 3000;

/**
 * The lease of this API server in etcd. All keys of the server are attached to it, so they go with a server that is killed.
 * A lease that etcd no longer has is replaced by a new one.
 */
export class EtcdSession {
  readonly #options: EtcdSessionOptions;
  readonly #delays: ReturnType<typeof createRetryDelays>;
  #lease: bigint | undefined;
  #stream: EtcdStream<bigint> | undefined;
  #cancelTimer = (): void => {};
  #problem: string | undefined = 'it has not answered yet';
  #isClosed = false;

  constructor(options: EtcdSessionOptions) {
    this.#options = options;
    this.#delays = createRetryDelays(options.random);
  }

  /** The current lease. Undefined while there is none. It can have ended without notice. */
  get lease(): bigint | undefined {
    return this.#lease;
  }

  /** Why the lease can't be kept alive at present; undefined if it can. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Gets a lease and keeps it alive, until `close`. */
  start(): void {
    void this.#grant();
  }

  /** Replaces a lease that etcd no longer has. Does nothing if it has been replaced already. */
  replace(lost: bigint): void {
    if (lost !== this.#lease || this.#isClosed) return;
    this.#lease = undefined;
    this.#closeStream();
    void this.#grant();
  }

  /** Stops renewing. The lease then expires, unless it is revoked. */
  close(): void {
    this.#isClosed = true;
    this.#closeStream();
  }

  async #grant(): Promise<void> {
    try {
      const { ID } = await this.#options.api.grantLease(LEASE_TTL_S);
      if (this.#isClosed) return;
      this.#lease = ID;
      this.#recordSuccess();
      this.#openStream(ID);
      this.#options.onLease(ID);
    } catch (error) {
      this.#retry(error, () => void this.#grant());
    }
  }

  #openStream(lease: bigint): void {
    const stream = this.#options.api.openKeepAlive({
      onResponse: ({ TTL }) => {
        // A response of an old leader that is about to lose its place has a TTL too. The next one tells.
        if (TTL <= 0n) return this.replace(lease);
        this.#recordSuccess();
        this.#schedule(RENEWAL_INTERVAL_MS, () => this.#renew(stream, lease));
      },
      onEnd: (error) => this.#retry(error, () => this.#openStream(lease)),
    });
    this.#stream = stream;
    this.#renew(stream, lease);
  }

  #renew(stream: EtcdStream<bigint>, lease: bigint): void {
    stream.send(lease);
    this.#schedule(WATCHDOG_MS, () => {
      this.#problem = `it has not answered a renewal for ${WATCHDOG_MS / 1000} s`;
      stream.abandon();
      this.#openStream(lease);
    });
  }

  #recordSuccess(): void {
    this.#problem = undefined;
    this.#delays.reset();
  }

  #retry(error: unknown, task: () => void): void {
    if (this.#isClosed) return;
    this.#problem = toEtcdError(error).message;
    this.#schedule(this.#delays.computeNextDelayMs(), task);
  }

  #closeStream(): void {
    this.#cancelTimer();
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  /** Replaces the timer. It keeps no process alive, because the API server does. */
  #schedule(delayMs: number, task: () => void): void {
    this.#cancelTimer();
    if (this.#isClosed) return;
    this.#cancelTimer = this.#options.clock.schedule(delayMs, task, { background: true });
  }
}
