/** The two parts of a request target. */
export interface RequestTarget {
  readonly path: string;
  /** The part behind the `?`, without it. */
  readonly search: string;
}

/** Whether a request target is this path, with or without a query. */
export function isPath(path: string, target: string): boolean {
  return target.startsWith(path) && (target.length === path.length || target[path.length] === '?');
}

/** A request target without scheme and host, which one may name that asks by way of a proxy (RFC 9112, 3.2.2). */
export function toOriginForm(target: string): string {
  const rest = target.replace(/^https?:\/\/[^/?]*/i, '');
  return rest === '' || rest.startsWith('?') ? `/${rest}` : rest;
}

/** Splits a request target at its first `?`. */
export function parseTarget(url: string): RequestTarget {
  const at = url.indexOf('?');
  return at < 0 ? { path: url, search: '' } : { path: url.slice(0, at), search: url.slice(at + 1) };
}
