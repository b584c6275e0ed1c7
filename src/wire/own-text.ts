/**
 * The same text in memory of its own. A part of a longer text, such as a body, is kept by the engine as a place in that, and
 * keeps all of it.
 */
export function ownText(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/** The same texts, each in memory of its own. */
export function ownTexts(texts: readonly string[]): string[] {
  return JSON.parse(JSON.stringify(texts)) as string[];
}
