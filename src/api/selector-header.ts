import { AnyserveError } from '../core/errors.js';
import { EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import { parseSelector } from '../core/selector-parser.js';

/**
 * Request header with a selector that a replica must match. A response that has a header with this name confirms that the
 * server applied it: servers that don't know it, such as the Python server, ignore it.
 */
export const SELECTOR_HEADER = 'x-anyserve-selector';

/** Request header of a route request with a selector: matches that satisfy it too are chosen first. */
export const PREFER_HEADER = 'x-anyserve-prefer';

/** Value of {@link SELECTOR_HEADER} in a response. */
export const SELECTOR_APPLIED = 'applied';

/**
 * Parses the values of {@link SELECTOR_HEADER} or {@link PREFER_HEADER}: percent-encoded selectors, all of whose terms must
 * hold. So it makes no difference whether a proxy joins two headers with a comma. Throws `usage`.
 */
export function parseSelectorHeader(values: readonly string[], name: string): Selector {
  if (values.length === 0) return EMPTY_SELECTOR;
  const selectors = values.map((value) => decodeHeader(value, name)).filter((text) => text.trim() !== '');
  return parseSelector(selectors.join(','), name);
}

/** Formats a selector as the value of a header. */
export function formatSelectorHeader({ text }: Selector): string {
  return encodeURIComponent(text.toWellFormed());
}

function decodeHeader(value: string, name: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    const position = value.search(/%(?![0-9a-f]{2})/i) + 1;
    const place = position > 0 ? `expected two hexadecimal digits after "%" at character ${position}` : 'invalid UTF-8';
    throw new AnyserveError('usage', `${name}: ${place}; percent-encode the selector, "%" as "%25"`);
  }
}
