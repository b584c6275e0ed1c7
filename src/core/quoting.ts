/** Longest text that a message quotes whole, in UTF-16 units. The longest id and endpoint that can be registered fit. */
const MAX_QUOTED = 256;

/** Number of names that a list in a message shows. */
const MAX_LISTED = 20;

/**
 * Quotes a text in a message, as JSON. A long one is cut: anyone can send a model name of 64 MiB. A value of another type,
 * which a program without types can hand over, is shown as JSON too.
 */
export function quote(text: unknown): string {
  if (typeof text !== 'string') return truncateText(JSON.stringify(text) ?? String(text), MAX_QUOTED);
  if (text.length <= MAX_QUOTED) return JSON.stringify(text);
  return `${JSON.stringify(withoutHalf(text.slice(0, MAX_QUOTED)))}... (${text.length} characters)`;
}

/** Quotes the first names of a list, and counts the rest. The list itself can be long: an engine names its models. */
export function quoteList(names: readonly string[]): string {
  const shown = names
    .slice(0, MAX_LISTED)
    .map((name) => quote(name))
    .join(', ');
  return names.length > MAX_LISTED ? `${shown}, and ${names.length - MAX_LISTED} more` : shown;
}

/** Cuts a text after a number of UTF-16 units, but not between the two units of one character. */
export function truncateText(text: string, maxUnits: number): string {
  return text.length <= maxUnits ? text : `${withoutHalf(text.slice(0, maxUnits))}...`;
}

function withoutHalf(text: string): string {
  return /[\ud800-\udbff]$/.test(text) ? text.slice(0, -1) : text;
}
