/** The two parts of a request target. */
export interface RequestTarget {
  readonly path: string;
  /** The part behind the `?`, without it. */
  readonly search: string;
}

/** Splits a request target at its first `?`. */
export function parseTarget(url: string): RequestTarget {
  const at = url.indexOf('?');
  return at < 0 ? { path: url, search: '' } : { path: url.slice(0, at), search: url.slice(at + 1) };
}
