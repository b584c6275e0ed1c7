import { type Decimal, toDecimal } from './decimal.js';
import { AnyserveError } from './errors.js';
import { type ComparisonOperator, EMPTY_SELECTOR, type Selector, type SelectorTerm } from './selector.js';

/** Maximum length of a selector, in UTF-8 bytes. */
export const MAX_SELECTOR_BYTES = 4096;

/** Maximum number of terms of a selector. */
export const MAX_SELECTOR_TERMS = 32;

/**
 * Parses a selector such as `type=chat, zone in (a,b), ctx>=8192, !gpu`. Takes time linear in its length. `source` names
 * the selector in error messages. Throws `usage` with the position of the character that was not expected.
 */
export function parseSelector(text: string, source: string): Selector {
  if (text === '') return EMPTY_SELECTOR;
  // Each UTF-16 unit takes at least one byte, so a long text need not be encoded.
  const bytes = text.length > MAX_SELECTOR_BYTES ? text.length : new TextEncoder().encode(text).length;
  if (bytes > MAX_SELECTOR_BYTES) {
    throw new AnyserveError('usage', `${source}: the selector is too long; give at most ${MAX_SELECTOR_BYTES} bytes`);
  }
  return { text, terms: new SelectorParser(text, source).parse() };
}

const WHITESPACE = ' \t\r\n';

/** Characters that end a word without quotes: whitespace, control characters and the characters of the grammar. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a control character is not part of a word
const WORD = /[^\u0000-\u0020\u007f,()=!<>"]*/y;

const OPERATORS = ['==', '=', '!=', '>=', '>', '<=', '<'] as const;

const AFTER_KEY = 'an operator ("=", "!=", "in", "notin", ">", ">=", "<", "<="), "," or the end';

/** The state of parsing one selector. */
class SelectorParser {
  readonly #text: string;
  readonly #source: string;
  /** Index of the next character. */
  #at = 0;

  constructor(text: string, source: string) {
    this.#text = text;
    this.#source = source;
  }

  parse(): SelectorTerm[] {
    const terms: SelectorTerm[] = [];
    this.#skipWhitespace();
    if (this.#isAtEnd) return terms;
    for (;;) {
      if (terms.length === MAX_SELECTOR_TERMS)
        this.#fail(`the end: a selector has at most ${MAX_SELECTOR_TERMS} terms`);
      const term = this.#parseTerm();
      terms.push(term);
      if (this.#isAtEnd) return terms;
      this.#expect(',', term.kind === 'exists' ? AFTER_KEY : '"," or the end');
    }
  }

  #parseTerm(): SelectorTerm {
    if (this.#skip('!')) return { kind: 'absent', key: this.#parseText('a key') };
    const key = this.#parseText('a key or "!"');
    const operator = OPERATORS.find((one) => this.#skip(one));
    switch (operator) {
      case '=':
      case '==':
        return { kind: 'in', key, values: new Set([this.#parseValue()]) };
      case '!=':
        return { kind: 'notin', key, values: new Set([this.#parseValue()]) };
      case undefined:
        return this.#parseSetOrKey(key);
      default:
        return this.#parseComparison(key, operator);
    }
  }

  #parseSetOrKey(key: string): SelectorTerm {
    const startsAt = this.#at;
    const word = this.#readWord();
    if (word === '') return { kind: 'exists', key };
    if (word === 'in' || word === 'notin') return { kind: word, key, values: this.#parseValues() };
    this.#at = startsAt;
    return this.#fail(AFTER_KEY);
  }

  #parseValues(): Set<string> {
    const values = new Set<string>();
    this.#expect('(', '"("');
    for (;;) {
      values.add(this.#parseValue());
      if (this.#skip(')')) return values;
      this.#expect(',', '"," or ")"');
    }
  }

  #parseComparison(key: string, operator: ComparisonOperator): SelectorTerm {
    const startsAt = this.#at;
    const number: Decimal | undefined = toDecimal(this.#parseText('a decimal number'));
    if (number) return { kind: 'compare', key, operator, number };
    this.#at = startsAt;
    return this.#fail('a decimal number');
  }

  #parseValue(): string {
    return this.#parseText('a value ("" is the empty one)');
  }

  /** Parses a word or a quoted text. */
  #parseText(expected: string): string {
    if (this.#text[this.#at] === '"') return this.#parseQuoted();
    const word = this.#readWord();
    return word === '' ? this.#fail(expected) : word;
  }

  #parseQuoted(): string {
    let text = '';
    for (this.#at++; this.#text[this.#at] !== '"'; this.#at++) {
      if (this.#isAtEnd) this.#fail('a closing quote');
      if (this.#text[this.#at] === '\\') {
        this.#at++;
        if (this.#text[this.#at] !== '"' && this.#text[this.#at] !== '\\') this.#fail('" or \\ after \\');
      }
      text += this.#text[this.#at];
    }
    this.#at++;
    this.#skipWhitespace();
    return text;
  }

  /** Reads the longest word without quotes, which can be empty. */
  #readWord(): string {
    WORD.lastIndex = this.#at;
    const [word] = WORD.exec(this.#text) as RegExpExecArray;
    this.#at += word.length;
    this.#skipWhitespace();
    return word;
  }

  #expect(token: string, expected: string): void {
    if (!this.#skip(token)) this.#fail(expected);
  }

  /** Skips a token and the whitespace after it. Returns whether the token is there. */
  #skip(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    this.#skipWhitespace();
    return true;
  }

  #skipWhitespace(): void {
    while (!this.#isAtEnd && WHITESPACE.includes(this.#text[this.#at] as string)) this.#at++;
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Throws an error that points at the next character. Positions count characters from 1, not UTF-16 units. */
  #fail(expected: string): never {
    const position = [...this.#text.slice(0, this.#at)].length + 1;
    const character = this.#text.codePointAt(this.#at);
    const found = character === undefined ? 'the selector ends there' : `found ${quoteCharacter(character)}`;
    throw new AnyserveError('usage', `${this.#source}: expected ${expected} at character ${position}, but ${found}`);
  }
}

function quoteCharacter(codePoint: number): string {
  const character = String.fromCodePoint(codePoint);
  return character === '"' ? `'"'` : JSON.stringify(character);
}
