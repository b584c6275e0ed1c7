import { isHttpToken } from '../http/engine-client/field-text.js';

/** A header value with parameters: `form-data; name="model"`. */
export interface HeaderParameters {
  /** The value before the first semicolon, in lower case. */
  readonly value: string;
  /** By their names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * Parses a header value with parameters. Returns undefined for one that parsers read in different ways: repeated names, values in
 * another encoding or in several parts (`name*`, `name*0`; RFC 2231), and escaped quotes, which end the value for some parsers.
 */
export function parseHeaderParameters(text: string): HeaderParameters | undefined {
  const firstEnd = findEnd(text, 0);
  const parameters = new Map<string, string>();
  for (let end = firstEnd; end < text.length; ) {
    const start = end + 1;
    end = findEnd(text, start);
    const parameter = text.slice(start, end);
    const equals = parameter.indexOf('=');
    const name = parameter.slice(0, Math.max(0, equals)).trim().toLowerCase();
    const value = readValue(parameter.slice(equals + 1).trim());
    if (!isHttpToken(name) || value === undefined || parameters.has(name)) return undefined;
    if (name.includes('*') && name !== 'filename*') return undefined;
    parameters.set(name, value);
  }
  return { value: text.slice(0, firstEnd).trim().toLowerCase(), parameters };
}

/** Returns the position of the next semicolon that is not in quotes; the end of the text if there is none. */
function findEnd(text: string, start: number): number {
  let isQuoted = false;
  let at = start;
  for (; at < text.length; at++) {
    if (text[at] === '"') isQuoted = !isQuoted;
    else if (text[at] === ';' && !isQuoted) break;
  }
  return at;
}

function readValue(text: string): string | undefined {
  if (isHttpToken(text)) return text;
  const isQuoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"');
  const value = text.slice(1, -1);
  return isQuoted && !value.includes('"') && !value.endsWith('\\') ? value : undefined;
}
