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

const NONE: readonly string[] = [];

/**
 * The values of a header, one for each time that it was sent; its name is given in lower case. Read from what came, as
 * pairs in one list: Node's own reading makes an object of all headers, and keeps the first value of some alone.
 */
export function getHeaderValues(rawHeaders: readonly string[], name: string): readonly string[] {
  let values = NONE;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const found = rawHeaders[at] as string;
    if (found.length === name.length && found.toLowerCase() === name)
      values = [...values, rawHeaders[at + 1] as string];
  }
  return values;
}
