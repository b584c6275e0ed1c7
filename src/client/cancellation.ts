/**
 * Says that a call is to end before its time, and why. An AbortSignal says as much, but a listener on one that many calls
 * share is looked for among those of all, and what `AbortSignal.any` makes stays with its sources for as long as they are
 * there. This belongs to one call, and makes a signal only for who asks for one.
 */
export class Cancellation {
  /** Ends what is under way; set by whoever begins something that it can end. */
  stop: () => void = NOTHING;
  readonly #others: Set<Cancellation>;
  #cancelled: { readonly reason: unknown } | undefined;
  #interruption: { readonly error: unknown } | undefined;
  #controller: AbortController | undefined;
  #unfollow = NOTHING;

  /** One more of those that are under way. */
  constructor(others: Set<Cancellation>) {
    this.#others = others.add(this);
  }

  get isCancelled(): boolean {
    return this.#cancelled !== undefined;
  }

  get reason(): unknown {
    return this.#cancelled?.reason;
  }

  /** The same as a signal. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#cancelled) this.#controller.abort(this.#cancelled.reason);
    return this.#controller.signal;
  }

  /** Why the attempt under way ends, though the call does not: another attempt may follow. */
  get interruption(): unknown {
    return this.#interruption?.error;
  }

  /** Ends the attempt under way with an error. */
  interrupt(error: unknown): void {
    if (this.#cancelled || this.#interruption) return;
    this.#interruption = { error };
    this.stop();
  }

  /** Another attempt begins, and the interruption of the last one does not concern it. */
  beginAttempt(): void {
    this.stop = NOTHING;
    this.#interruption = undefined;
  }

  throwIfCancelled(): void {
    if (this.#cancelled) throw this.#cancelled.reason;
  }

  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = { reason };
    this.stop();
    this.#controller?.abort(reason);
  }

  /** Cancels it with a signal, until it ends. */
  follow(signal: AbortSignal): void {
    const cancel = (): void => this.cancel(signal.reason);
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
    this.#unfollow = () => signal.removeEventListener('abort', cancel);
  }

  /** The call has ended: nobody will cancel it any more. */
  end(): void {
    this.#unfollow();
    this.#others.delete(this);
  }
}

/** What is under way and ends when its client is closed. */
export class Underway {
  readonly #cancellations = new Set<Cancellation>();
  #closed: { readonly reason: unknown } | undefined;

  /** Begins something that the signal may cancel, too. Throws the reason of {@link close} after it. */
  begin(signal?: AbortSignal): Cancellation {
    if (this.#closed) throw this.#closed.reason;
    const cancellation = new Cancellation(this.#cancellations);
    if (signal) cancellation.follow(signal);
    return cancellation;
  }

  /** Cancels all of it, and whatever would begin. */
  close(reason: unknown): void {
    this.#closed ??= { reason };
    for (const cancellation of this.#cancellations) cancellation.cancel(reason);
  }
}

function NOTHING(): void {}
