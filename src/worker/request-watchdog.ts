import { status } from '@grpc/grpc-js';
import type { Clock } from '../core/ports.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';

/** How the requests of one call come in. */
export interface RequestReader {
  /** When the request last made progress, by the clock: a byte of it arrived, or where those do not count all of it. */
  readonly lastProgressAtMs: number;
  /** Whether more is expected to arrive soon. */
  readonly isWaiting: boolean;
  /** Releases what the call holds. */
  end(): void;
}

/** How often calls that wait for more are looked at. */
const LOOK_MS = 2000;

/**
 * A call that is followed. What it refers to is let go when it ends: tables that a set has outgrown still refer to their entries,
 * and a call that such a table keeps survives garbage collections that would otherwise cost nothing.
 */
interface Followed {
  call: GrpcJsCall | undefined;
  intake: RequestReader | undefined;
  readonly silenceMs: number;
}

/** The calls that are open. Those whose caller goes silent in the middle of a request are ended. */
export class RequestWatchdog {
  readonly #clock: Clock;
  readonly #calls = new Set<Followed>();
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Follows a call until its stream closes, and then releases what it holds. */
  add(call: GrpcJsCall, intake: RequestReader, silenceMs: number): void {
    const followed: Followed = { call, intake, silenceMs };
    this.#calls.add(followed);
    call.stream.once('close', () => {
      this.#calls.delete(followed);
      followed.call = undefined;
      followed.intake = undefined;
      intake.end();
    });
    this.#cancelTimer ??= this.#clock.schedule(LOOK_MS, () => this.#look(), { background: true });
  }

  /** Goes on for as long as there are calls: a timer for each would be made and called off with each. */
  #look(): void {
    this.#cancelTimer = undefined;
    const nowMs = this.#clock.nowMs();
    for (const { call, intake, silenceMs } of this.#calls) {
      if (!call || !intake?.isWaiting || nowMs - intake.lastProgressAtMs < silenceMs) continue;
      const details = `nothing more of the request arrived for ${silenceMs / 1000} s`;
      call.sendStatus({ code: status.DEADLINE_EXCEEDED, details });
    }
    if (this.#calls.size > 0)
      this.#cancelTimer = this.#clock.schedule(LOOK_MS, () => this.#look(), { background: true });
  }
}
