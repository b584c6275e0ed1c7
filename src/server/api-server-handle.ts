/** How an API server is closed. */
export interface CloseOptions {
  /** Spreads the ends of the leases over this long, in ms. Default: 0, all at once. */
  readonly drainMs?: number | undefined;
  /** Aborted to end a drain at once. */
  readonly signal?: AbortSignal | undefined;
}

/** A running API server. */
export interface ApiServer {
  /** Where it listens: `http://127.0.0.1:8080`, or `https` and so on. */
  readonly url: string;
  readonly port: number;
  /**
   * Accepts no more registrations, ends every lease and then every connection. Resolves when all are closed. Until then
   * requests are answered.
   */
  close(options?: CloseOptions): Promise<void>;
}
