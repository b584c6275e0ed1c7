const SLASH = 0x2f;

/**
 * Removes the slashes at the end of a text. Uses a loop, because `/\/+$/` takes quadratic time in a run of slashes that is not
 * at the end.
 */
export function trimTrailingSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === SLASH) end--;
  return text.slice(0, end);
}
