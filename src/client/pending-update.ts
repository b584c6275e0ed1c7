import type { AnyserveError } from '../core/errors.js';

/** The promise of the newest capabilities, until the API servers have accepted or refused them. */
export class PendingUpdate {
  readonly promise: Promise<void>;
  #resolve = (): void => {};
  #reject: (error: AnyserveError) => void = () => {};

  constructor() {
    this.promise = new Promise<void>((...settlers) => {
      [this.#resolve, this.#reject] = settlers;
    });
    // A caller that ignores the promise must not get an unhandled rejection.
    this.promise.catch(() => {});
  }

  settle(error?: AnyserveError): void {
    if (error) this.#reject(error);
    else this.#resolve();
  }
}
