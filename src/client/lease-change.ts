import type { AnyserveError } from '../core/errors.js';

/** What happens to a registration that is being kept. */
export type LeaseChange =
  | { readonly kind: 'registered'; readonly server: string }
  /** The lease ended, or was not granted; the next attempt comes after `retryInMs`. */
  | { readonly kind: 'lost'; readonly error: AnyserveError; readonly retryInMs: number }
  /** The server has accepted new capabilities for the same lease. */
  | { readonly kind: 'updated'; readonly server: string }
  /** A newer registration has the id: it is looked up every `retryInMs`, and taken once nobody has had it for 5 s. */
  | { readonly kind: 'superseded'; readonly server: string; readonly retryInMs: number };
