import { describe, expect, it } from 'vitest';
import { formatSelectorHeader, parseSelectorHeader } from '../../src/api/selector-header.js';

describe('the header of a selector', () => {
  it('is percent-encoded UTF-8', () => {
    const text = 'größe="100% 😀", a in (b,c)';
    const selector = parseSelectorHeader([formatSelectorHeader({ text, terms: [] })], 'h');
    expect(selector.text).toBe(text);
    expect(selector.terms).toHaveLength(2);
    expect(parseSelectorHeader(['a=b+c'], 'h').text).toBe('a=b+c');
  });

  it('can be given several times: all terms must hold, and empty values have none', () => {
    expect(parseSelectorHeader(['a=1', '', ' ', 'b%3D2'], 'h').text).toBe('a=1,b=2');
    expect(parseSelectorHeader(['', ''], 'h').terms).toEqual([]);
  });

  it.each([
    ['a=5%', 'h: expected two hexadecimal digits after "%" at character 4; percent-encode the selector, "%" as "%25"'],
    ['a=%zz', 'h: expected two hexadecimal digits after "%" at character 3; percent-encode the selector, "%" as "%25"'],
    ['a=%ff', 'h: invalid UTF-8; percent-encode the selector, "%" as "%25"'],
    ['a%3D', 'h: expected a value ("" is the empty one) at character 3, but the selector ends there'],
  ])('is refused if it is %s', (value, message) => {
    expect(() => parseSelectorHeader([value], 'h')).toThrow(message);
  });
});
