import { status } from '@grpc/grpc-js';
import type { Clock } from '../core/ports.js';
import type { LibraryCall } from './grpc-js-call.js';

/** How the requests of one call come in. */
export interface Intake {
  /** When something arrived last, by the clock. */
  readonly lastByteAtMs: number;
  /** Whether more is expected to arrive soon. */
  readonly isWaiting: boolean;
  /** Releases what the call holds. */
  end(): void;
}

/** How often calls that wait for more are looked at. */
const LOOK_MS = 2000;

/** The calls that are open. Those whose caller goes silent in the middle of a request are ended. */
export class IncomingCalls {
  readonly #clock: Clock;
  readonly #calls = new Map<Intake, { readonly call: LibraryCall; readonly silenceMs: number }>();
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Follows a call until its stream closes, and then releases what it holds. */
  add(call: LibraryCall, intake: Intake, silenceMs: number): void {
    this.#calls.set(intake, { call, silenceMs });
    call.stream.once('close', () => {
      this.#calls.delete(intake);
      intake.end();
      if (this.#calls.size > 0) return;
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
    });
    this.#cancelTimer ??= this.#clock.schedule(LOOK_MS, () => this.#look());
  }

  #look(): void {
    this.#cancelTimer = this.#clock.schedule(LOOK_MS, () => this.#look());
    const nowMs = this.#clock.nowMs();
    for (const [intake, { call, silenceMs }] of this.#calls) {
      if (!intake.isWaiting || nowMs - intake.lastByteAtMs < silenceMs) continue;
      const details = `nothing more of the request arrived for ${silenceMs / 1000} s`;
      call.sendStatus({ code: status.DEADLINE_EXCEEDED, details });
    }
  }
}
