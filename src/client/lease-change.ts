import type { AnyserveError } from '../core/errors.js';

/*
 * This file imports nothing of Node.js, because the public types are made of it: they must compile in
 * projects without Node's types.
 */

/** A change of a registration that is kept. */
export type LeaseChange =
  | { readonly kind: 'registered'; readonly server: string }
  /** The lease ended or was not granted. The next attempt is made after `retryInMs`. */
  | { readonly kind: 'lost'; readonly error: AnyserveError; readonly retryInMs: number }
  /** The server accepted new capabilities for the same lease. */
  | { readonly kind: 'updated'; readonly server: string }
  /**
   * A newer registration has the id. The keeper looks the id up every `retryInMs` and takes it back when it has not been
   * listed for 5 s.
   */
  | { readonly kind: 'superseded'; readonly server: string; readonly retryInMs: number };
