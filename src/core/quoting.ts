/** Maximum length of a quoted string, in UTF-16 units. The longest ids and endpoints fit. */
const MAX_QUOTED_UNITS = 256;

/** Maximum number of names that a list in a message shows. */
const MAX_LISTED_NAMES = 20;

/**
 * Quotes a string for a message, as JSON. Truncates a long string, because anyone can send a model name of 64 MiB. Formats a
 * value of another type as JSON too, because untyped programs can pass one.
 */
export function quote(text: unknown): string {
  if (typeof text !== 'string') return truncateText(JSON.stringify(text) ?? String(text), MAX_QUOTED_UNITS);
  if (text.length <= MAX_QUOTED_UNITS) return JSON.stringify(text);
  return `${JSON.stringify(dropSplitSurrogate(text.slice(0, MAX_QUOTED_UNITS)))}... (${text.length} characters)`;
}

/** Quotes the first 20 names of a list and counts the rest. Lists can be long, such as the models of an engine. */
export function quoteList(names: readonly string[]): string {
  const listed = names
    .slice(0, MAX_LISTED_NAMES)
    .map((name) => quote(name))
    .join(', ');
  return names.length > MAX_LISTED_NAMES ? `${listed}, and ${names.length - MAX_LISTED_NAMES} more` : listed;
}

/** Truncates a string after a number of UTF-16 units. Never splits a surrogate pair. */
export function truncateText(text: string, maxUnits: number): string {
  return text.length <= maxUnits ? text : `${dropSplitSurrogate(text.slice(0, maxUnits))}...`;
}

function dropSplitSurrogate(text: string): string {
  return /[\ud800-\udbff]$/.test(text) ? text.slice(0, -1) : text;
}
