import { status } from '@grpc/grpc-js';
import type { Clock } from '../core/ports.js';
import { type ListElement, UnorderedList } from '../core/unordered-list.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';

/** Reads the requests of one call as they arrive. */
export interface RequestReader {
  /** Time of the last progress: the last byte, or the last complete request where single bytes don't count. */
  readonly lastProgressAtMs: number;
  /** Whether the caller is expected to send more data. */
  readonly isWaiting: boolean;
  /** Releases the memory that the call holds. */
  end(): void;
}

/** Interval between two checks of the waiting calls, in ms. */
const REQUEST_CHECK_INTERVAL_MS = 2000;

interface WatchedCall extends ListElement {
  readonly call: GrpcJsCall;
  readonly reader: RequestReader;
  readonly timeoutMs: number;
}

/** Ends open calls whose caller goes silent during a request. */
export class RequestWatchdog {
  readonly #clock: Clock;
  readonly #calls = new UnorderedList<WatchedCall>();
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Watches a call until its stream closes, and then releases its memory. */
  add(call: GrpcJsCall, reader: RequestReader, timeoutMs: number): void {
    const watched: WatchedCall = { call, reader, timeoutMs, position: 0 };
    this.#calls.add(watched);
    call.stream.once('close', () => {
      this.#calls.delete(watched);
      reader.end();
    });
    this.#cancelTimer ??= this.#clock.schedule(REQUEST_CHECK_INTERVAL_MS, () => this.#checkCalls(), {
      background: true,
    });
  }

  /** Checks all calls. One shared timer avoids the cost of creating and cancelling a timer for each call. */
  #checkCalls(): void {
    this.#cancelTimer = undefined;
    const nowMs = this.#clock.nowMs();
    for (const { call, reader, timeoutMs } of this.#calls) {
      if (!reader.isWaiting || nowMs - reader.lastProgressAtMs < timeoutMs) continue;
      const details = `no more data of the request arrived within ${timeoutMs / 1000} s`;
      call.sendStatus({ code: status.DEADLINE_EXCEEDED, details });
    }
    if (this.#calls.size > 0)
      this.#cancelTimer = this.#clock.schedule(REQUEST_CHECK_INTERVAL_MS, () => this.#checkCalls(), {
        background: true,
      });
  }
}
