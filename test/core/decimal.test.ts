import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareDecimals, type Decimal, toDecimal } from '../../src/core/decimal.js';

function decimal(text: string): Decimal {
  const parsed = toDecimal(text);
  if (!parsed) throw new Error(`${text} is not a decimal number`);
  return parsed;
}

/** Compares two decimals `units / 10^places` as whole numbers. */
function compareAsWholeNumbers([units, places]: [bigint, number], [otherUnits, otherPlaces]: [bigint, number]): number {
  const difference = units * 10n ** BigInt(otherPlaces) - otherUnits * 10n ** BigInt(places);
  return difference < 0n ? -1 : Number(difference > 0n);
}

/** Writes `units / 10^places`: with a point if `isPlain`, else with an exponent. */
function format([units, places]: [bigint, number], isPlain: boolean): string {
  if (!isPlain) return `${units}e-${places}`;
  const digits = String(units < 0n ? -units : units).padStart(places + 1, '0');
  const point = digits.length - places;
  return `${units < 0n ? '-' : ''}${digits.slice(0, point)}${places > 0 ? `.${digits.slice(point)}` : ''}`;
}

describe('a decimal number', () => {
  it.each(['0', '8192', '-1', '+1', '0.5', '-0.5', '1e6', '1.5E-3', '007', '9'.repeat(64)])(
    'is the text %s',
    (text) => {
      expect(toDecimal(text)).toEqual({ text, value: Number(text) });
    },
  );

  it.each(['', ' 1', '1 ', '.5', '5.', '0x10', '1e', 'NaN', 'Infinity', '1,5', '--1', '1_000', '9'.repeat(65)])(
    'is not the text %j',
    (text) => {
      expect(toDecimal(text)).toBeUndefined();
    },
  );

  it.each([
    ['9007199254740992', '9007199254740993', -1],
    ['1.0', '1', 0],
    ['1e3', '1000', 0],
    ['100e-2', '1', 0],
    ['0.30000000000000000001', '0.3', 1],
    ['-9007199254740993', '-9007199254740992', -1],
    ['-0', '0', 0],
    ['0e5', '-0.00', 0],
    ['1e-400', '0', 1],
    ['-1e-400', '0', -1],
    ['1e400', '1e401', -1],
    ['-1e400', '-1e401', 1],
    ['1e99999999999999999999', '1e99999999999999999998', 1],
  ])('compares %s with %s exactly', (a, b, order) => {
    expect(Math.sign(compareDecimals(decimal(a), decimal(b)))).toBe(order);
    expect(Math.sign(compareDecimals(decimal(b), decimal(a)))).toBe(0 - order);
  });

  it('compares like whole numbers of the same unit', () => {
    const number = fc.tuple(fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }), fc.nat(20));
    const small = fc.tuple(fc.bigInt({ min: -30n, max: 30n }), fc.nat(2));
    fc.assert(
      fc.property(fc.oneof(fc.tuple(number, number), fc.tuple(small, small)), fc.boolean(), ([a, b], isPlain) => {
        const order = compareDecimals(decimal(format(a, isPlain)), decimal(format(b, true)));
        expect(Math.sign(order)).toBe(compareAsWholeNumbers(a, b));
      }),
      { numRuns: 2000 },
    );
  });
});
