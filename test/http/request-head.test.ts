import { describe, expect, it } from 'vitest';
import { getHeaderValues } from '../../src/http/request-head.js';

describe('the values of a header', () => {
  const raw = ['Host', 'x', 'X-Name', 'a', 'x-name', 'b', 'X-Nama', 'x-name'];

  it('are found in any case, one for each time that it was sent', () => {
    expect(getHeaderValues(raw, 'x-name')).toEqual(['a', 'b']);
    expect(getHeaderValues(raw, 'host')).toEqual(['x']);
  });

  it('are none where it was not sent', () => {
    expect(getHeaderValues(raw, 'x')).toEqual([]);
    expect(getHeaderValues([], 'x-name')).toEqual([]);
  });
});
