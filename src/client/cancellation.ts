import { setMaxListeners } from 'node:events';
import { type ListElement, UnorderedList } from '../core/unordered-list.js';

/**
 * A request to end an operation early, with the reason. It replaces AbortSignal for speed and memory: removing a listener
 * from a signal that many calls share takes time in proportion to the number of calls, and a signal made by
 * `AbortSignal.any` stays referenced by its sources. A signal is created only when {@link signal} is read.
 */
export class Cancellation {
  /** Ends the operation in progress. Set by the code that starts an operation. */
  stop: () => void = doNothing;
  #cancelled: { readonly reason: unknown } | undefined;
  #controller: AbortController | undefined;

  get isCancelled(): boolean {
    return this.#cancelled !== undefined;
  }

  get reason(): unknown {
    return this.#cancelled?.reason;
  }

  /** An AbortSignal that is aborted by the cancellation. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#cancelled) this.#controller.abort(this.#cancelled.reason);
    return this.#controller.signal;
  }

  throwIfCancelled(): void {
    if (this.#cancelled) throw this.#cancelled.reason;
  }

  /** Ends the operation in progress. Later calls have no effect. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = { reason };
    this.stop();
    this.#controller?.abort(reason);
  }
}

const NO_ATTEMPTS: readonly Cancellation[] = [];

/** The cancellation of a call. Cancels every attempt of the call; cancelling one attempt does not affect the others. */
export class CallCancellation extends Cancellation implements ListElement {
  position = 0;
  readonly #calls: UnorderedList<CallCancellation>;
  /** Replaced, not changed: an array that grows reserves room for 16 more, and most calls have one attempt. */
  #attempts: readonly Cancellation[] = NO_ATTEMPTS;
  #unfollow = doNothing;

  /** Adds itself to the calls in progress. */
  constructor(calls: UnorderedList<CallCancellation>) {
    super();
    this.#calls = calls;
    calls.add(this);
  }

  override cancel(reason: unknown): void {
    super.cancel(reason);
    for (const attempt of this.#attempts) attempt.cancel(reason);
  }

  /** Begins an attempt. Several attempts of a call can be in progress at the same time. */
  beginAttempt(): Cancellation {
    const attempt = new Cancellation();
    if (this.isCancelled) attempt.cancel(this.reason);
    this.#attempts = this.#attempts.length === 0 ? [attempt] : [...this.#attempts, attempt];
    return attempt;
  }

  /** Forgets an attempt that has ended. */
  endAttempt(attempt: Cancellation): void {
    const isOnly = this.#attempts.length === 1 && this.#attempts[0] === attempt;
    this.#attempts = isOnly ? NO_ATTEMPTS : this.#attempts.filter((other) => other !== attempt);
  }

  /** Cancels the call when the signal is aborted, until {@link end}. */
  follow(signal: AbortSignal): void {
    const cancel = (): void => this.cancel(signal.reason);
    if (signal.aborted) cancel();
    else {
      // One signal can cancel many calls. Node.js would warn about a leak of listeners.
      setMaxListeners(0, signal);
      signal.addEventListener('abort', cancel, { once: true });
    }
    this.#unfollow = () => signal.removeEventListener('abort', cancel);
  }

  /** Marks the call as ended. It is not cancelled after this. */
  end(): void {
    this.#unfollow();
    this.#calls.delete(this);
  }
}

/** The calls of a client that are in progress. They end when the client is closed. */
export class ActiveCalls {
  readonly #calls = new UnorderedList<CallCancellation>();
  #closed: { readonly reason: unknown } | undefined;

  /** Begins a call that the signal can cancel. After {@link close}, throws its reason. */
  begin(signal?: AbortSignal): CallCancellation {
    if (this.#closed) throw this.#closed.reason;
    const cancellation = new CallCancellation(this.#calls);
    if (signal) cancellation.follow(signal);
    return cancellation;
  }

  /** Cancels all calls in progress and refuses new ones. */
  close(reason: unknown): void {
    this.#closed ??= { reason };
    for (const call of this.#calls) call.cancel(reason);
  }
}

function doNothing(): void {}
