import { describe, expect, it } from 'vitest';
import { headerValues } from '../../src/server/raw-headers.js';

describe('the values of a header', () => {
  const raw = ['Host', 'x', 'X-Name', 'a', 'x-name', 'b', 'X-Nama', 'x-name'];

  it('are found in any case, one for each time that it was sent', () => {
    expect(headerValues(raw, 'x-name')).toEqual(['a', 'b']);
    expect(headerValues(raw, 'host')).toEqual(['x']);
  });

  it('are none where it was not sent', () => {
    expect(headerValues(raw, 'x')).toEqual([]);
    expect(headerValues([], 'x-name')).toEqual([]);
  });
});
