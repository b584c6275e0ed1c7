/** Options of {@link ApiServer.close}. */
export interface CloseOptions {
  /** Time over which the ends of the leases are spread, in ms. Default: 0, all at once. */
  readonly drainMs?: number | undefined;
  /** Ends the drain at once when aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** A running API server. */
export interface ApiServer {
  /** Base URL: `http://127.0.0.1:8080`, or `https://...`. */
  readonly url: string;
  readonly port: number;
  /**
   * Stops accepting registrations, ends every lease and then closes every connection. Requests are still handled until
   * then. Resolves when all connections are closed.
   */
  close(options?: CloseOptions): Promise<void>;
}
