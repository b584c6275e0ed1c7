/** An operator's decision whether calls are routed to a replica id, whatever state the replica reports. */
export interface Cordon {
  readonly cordoned: boolean;
  /** Empty if the operator gave none. */
  readonly reason: string;
  /** When it was decided, in ms since 1970. Of several decisions, the one with the highest time counts. */
  readonly atMs: number;
}

/** Maximum length of a reason, in UTF-8 bytes. */
export const MAX_CORDON_REASON_BYTES = 256;

/** Maximum time of a cordon in ms since 1970, which is the latest time of a JavaScript date. */
export const MAX_CORDON_AT_MS = 8.64e15;

/**
 * Returns whether a cordon counts instead of another. All API servers and keepers choose the same one of two, even of two
 * with the same time: then a replica is rather cordoned, and else the greater reason is chosen.
 */
export function isNewerCordon(cordon: Cordon, than: Cordon | undefined): boolean {
  if (!than) return true;
  if (cordon.atMs !== than.atMs) return cordon.atMs > than.atMs;
  if (cordon.cordoned !== than.cordoned) return cordon.cordoned;
  return cordon.reason > than.reason;
}

/** Returns whether two cordons are equal. Each API server of a shared registry has its own object of the same cordon. */
export function isSameCordon(a: Cordon | undefined, b: Cordon | undefined): boolean {
  return a?.atMs === b?.atMs && a?.cordoned === b?.cordoned && a?.reason === b?.reason;
}

/** Returns the cordon that counts of two; `b` if they are equal. */
export function chooseNewerCordon(a: Cordon | undefined, b: Cordon | undefined): Cordon | undefined {
  return a && isNewerCordon(a, b) ? a : b;
}
