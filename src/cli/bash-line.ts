/** A bash command line, parsed up to the cursor. */
export interface BashLine {
  /** Words without their quotes. The last one is at the cursor and can be empty. */
  readonly words: readonly string[];
  /** Quote that is open at the cursor. */
  readonly quote: '' | "'" | '"';
  /**
   * Length of the prefix of the last word, without quotes, that bash keeps. Bash treats `=` and `:` as word breaks and
   * replaces only the text after the last one.
   */
  readonly unreplacedLength: number;
}

/** Splits a command line as bash does. `wordBreaks` is the value of `COMP_WORDBREAKS`. */
export function parseBashLine(line: string, wordBreaks: string): BashLine {
  const words: string[] = [];
  let word = '';
  let quote: BashLine['quote'] = '';
  let unreplacedLength = 0;
  let isInWord = false;
  for (let index = 0; index < line.length; index++) {
    const character = line[index] as string;
    if (quote === '' && (character === ' ' || character === '\t')) {
      if (isInWord) words.push(word);
      [word, unreplacedLength, isInWord] = ['', 0, false];
      continue;
    }
    isInWord = true;
    if (character === '\\' && quote !== "'") {
      word += line[++index] ?? '';
    } else if (character === quote) {
      quote = '';
    } else if (quote === '' && (character === '"' || character === "'")) {
      quote = character;
    } else {
      word += character;
      if (quote === '' && (character === '=' || character === ':') && wordBreaks.includes(character)) {
        unreplacedLength = word.length;
      }
    }
  }
  return { words: [...words, word], quote, unreplacedLength };
}

/** Returns the string that replaces the word at the cursor. Undefined if the open quote cannot contain the value. */
export function formatBashReplacement(value: string, { quote, unreplacedLength }: BashLine): string | undefined {
  const rest = value.slice(unreplacedLength);
  if (quote === "'") return rest.includes("'") ? undefined : rest;
  if (quote === '"') return /["$`\\!]/.test(rest) ? undefined : rest;
  // Values are untrusted, and the shell would execute unescaped text.
  return rest.replace(/[^\w.,:=@%+/-]/gu, (character) => `\\${character}`);
}
