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
