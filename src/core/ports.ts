import type { LeaseId, ReplicaId } from './ids.js';
import type { LeaseEnd, Registration, RegistrationChange } from './replica.js';

/** Time, as everything here is told it. */
export interface Clock {
  /** Milliseconds since some fixed point; never goes back. */
  nowMs(): number;
  /** Milliseconds since 1970, for protocols that speak of dates; may jump. */
  epochMs(): number;
  /**
   * Runs the task once, after the delay; without one, after whatever else has its turn now. The returned function calls it off.
   * A task in the background does not keep the process alive.
   */
  schedule(delayMs: number, task: () => void, options?: { readonly background?: boolean }): () => void;
}

/** Chance, as everything here is told it. */
export interface Random {
  /** A number from 0 up to and not including 1. */
  fraction(): number;
}

/** Where new names come from. */
export interface Ids {
  /** A name that nobody can guess and nobody had before. */
  lease(): LeaseId;
}

/** Where a role tells what it did; each call is one line. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
}

/** What a store tells its subscribers, in the order in which it happened. */
export type StoreEvent =
  | { readonly kind: 'put'; readonly registration: Registration }
  /** The registration as it is now; its state has changed, or what its replica offers. */
  | { readonly kind: 'change'; readonly registration: Registration }
  | { readonly kind: 'delete'; readonly lease: LeaseId; readonly replicaId: ReplicaId; readonly end: LeaseEnd };

/**
 * Keeps the registrations: at most one for each replica id, the newest. In memory now; a distributed one tells its
 * subscribers of registrations that other servers granted, through the same events.
 */
export interface RegistrationStore {
  /** Puts a registration in the place of whatever held its replica's id, with no moment in between. */
  put(registration: Registration): Promise<void>;
  /** Changes the registration with this lease, in one step. Changes nothing when a newer one holds the id, or none. */
  change(lease: LeaseId, change: RegistrationChange): Promise<void>;
  /** Takes out the registration with this lease. Changes nothing when a newer one holds the id, or none. */
  delete(lease: LeaseId, end: LeaseEnd): Promise<void>;
  /** Calls the listener at once for each registration held, then for each change. The returned function stops it. */
  subscribe(listener: (event: StoreEvent) => void): () => void;
  /** Ends what the store holds open. */
  close(): Promise<void>;
}
