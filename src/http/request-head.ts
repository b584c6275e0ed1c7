/** The parts of a request target. */
export interface RequestTarget {
  readonly path: string;
  /** The query string, without the `?`. */
  readonly search: string;
}

/** Returns whether a request target has this path, with or without a query string. */
export function isPath(path: string, target: string): boolean {
  return target.startsWith(path) && (target.length === path.length || target[path.length] === '?');
}

/** Removes scheme and host from a request target. Requests through a proxy can have them (RFC 9112, section 3.2.2). */
export function toOriginForm(target: string): string {
  const rest = target.replace(/^https?:\/\/[^/?]*/i, '');
  return rest === '' || rest.startsWith('?') ? `/${rest}` : rest;
}

/** Splits a request target at the first `?`. */
export function parseTarget(target: string): RequestTarget {
  const index = target.indexOf('?');
  return index < 0 ? { path: target, search: '' } : { path: target.slice(0, index), search: target.slice(index + 1) };
}

const NO_VALUES: readonly string[] = [];

/**
 * Returns all values of a header, whose name is given in lower case. Reads Node's `rawHeaders`, because `headers` costs
 * an object per request and keeps only the first value of some headers.
 */
export function getHeaderValues(rawHeaders: readonly string[], name: string): readonly string[] {
  let values = NO_VALUES;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const rawName = rawHeaders[index] as string;
    if (rawName.length === name.length && rawName.toLowerCase() === name)
      values = [...values, rawHeaders[index + 1] as string];
  }
  return values;
}

const SLASH = 0x2f;

/**
 * Removes the slashes at the end of a string. Uses a loop, because `/\/+$/` takes quadratic time in a run of slashes that is
 * not at the end.
 */
export function trimTrailingSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === SLASH) end--;
  return text.slice(0, end);
}
