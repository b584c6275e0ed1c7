/** The words of a bash command line up to the cursor. */
export interface BashLine {
  /** All words without their quotes; the last one is under the cursor, and may be empty. */
  readonly words: readonly string[];
  /** The quote that is open at the cursor. */
  readonly quote: '' | "'" | '"';
  /**
   * How much of the last word, without its quotes, bash leaves as it is: it takes `=` and `:` for the ends of words, and
   * replaces what follows the last of them.
   */
  readonly keptLength: number;
}

/** Splits a command line as bash does: at spaces and, inside of a word, at the word breaks of completion. */
export function parseBashLine(line: string, wordBreaks: string): BashLine {
  const words: string[] = [];
  let word = '';
  let quote: BashLine['quote'] = '';
  let keptLength = 0;
  let isInWord = false;
  for (let at = 0; at < line.length; at++) {
    const character = line[at] as string;
    if (quote === '' && (character === ' ' || character === '\t')) {
      if (isInWord) words.push(word);
      [word, keptLength, isInWord] = ['', 0, false];
      continue;
    }
    isInWord = true;
    if (character === '\\' && quote !== "'") {
      word += line[++at] ?? '';
    } else if (character === quote) {
      quote = '';
    } else if (quote === '' && (character === '"' || character === "'")) {
      quote = character;
    } else {
      word += character;
      if (quote === '' && (character === '=' || character === ':') && wordBreaks.includes(character)) {
        keptLength = word.length;
      }
    }
  }
  return { words: [...words, word], quote, keptLength };
}

/** What bash puts in the place of the word under the cursor; undefined for a value that its quotes cannot hold. */
export function formatBashReplacement(value: string, { quote, keptLength }: BashLine): string | undefined {
  const rest = value.slice(keptLength);
  if (quote === "'") return rest.includes("'") ? undefined : rest;
  if (quote === '"') return /["$`\\!]/.test(rest) ? undefined : rest;
  // Values come from outside, and what stands on a command line is run.
  return rest.replace(/[^\w.,:=@%+/-]/gu, (character) => `\\${character}`);
}
