/** A decimal number. `value` is its nearest double. */
export interface Decimal {
  readonly text: string;
  readonly value: number;
}

/** Maximum length of a decimal number, in characters. Replicas choose their values, and each comparison reads one. */
const MAX_LENGTH = 64;

const DECIMAL = /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Converts a text such as `8192`, `-0.5` or `1e6`. Returns undefined for any other text. */
export function toDecimal(text: string): Decimal | undefined {
  return text.length <= MAX_LENGTH && DECIMAL.test(text) ? { text, value: Number(text) } : undefined;
}

/** Compares two decimal numbers exactly, also integers over 2^53. Returns a negative number, 0, or a positive number. */
export function compareDecimals(a: Decimal, b: Decimal): number {
  // Rounding to the nearest double keeps the order, so only equal doubles need an exact comparison.
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return a.text === b.text ? 0 : compareExactly(normalize(a.text), normalize(b.text));
}

/** A number in the form sign × 0.digits × 10^exponent. Zero has no digits. */
interface Normalized {
  readonly sign: number;
  /** Without zeros at the start and at the end. */
  readonly digits: string;
  readonly exponent: bigint;
}

function normalize(text: string): Normalized {
  const [mantissa = '', exponent = '0'] = text.replace(/^[+-]/, '').toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const significant = (whole + fraction).replace(/^0+/, '');
  const leadingZeros = whole.length + fraction.length - significant.length;
  const digits = significant.replace(/0+$/, '');
  if (digits === '') return { sign: 0, digits, exponent: 0n };
  return {
    sign: text.startsWith('-') ? -1 : 1,
    digits,
    exponent: BigInt(exponent) + BigInt(whole.length - leadingZeros),
  };
}

function compareExactly(a: Normalized, b: Normalized): number {
  if (a.sign !== b.sign) return a.sign - b.sign;
  if (a.exponent !== b.exponent) return a.exponent < b.exponent ? -a.sign : a.sign;
  if (a.digits === b.digits) return 0;
  return a.digits < b.digits ? -a.sign : a.sign;
}
