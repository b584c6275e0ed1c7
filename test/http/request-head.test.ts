import { describe, expect, it } from 'vitest';
import { getHeaderValues } from '../../src/http/request-head.js';

describe('getHeaderValues', () => {
  const raw = ['Host', 'x', 'X-Name', 'a', 'x-name', 'b', 'X-Nama', 'x-name'];

  it('returns all values of a header, whatever the case of its name', () => {
    expect(getHeaderValues(raw, 'x-name')).toEqual(['a', 'b']);
    expect(getHeaderValues(raw, 'host')).toEqual(['x']);
  });

  it('returns no values for a missing header', () => {
    expect(getHeaderValues(raw, 'x')).toEqual([]);
    expect(getHeaderValues([], 'x-name')).toEqual([]);
  });
});
