import { describe, expect, it } from 'vitest';
import { formatEventFrame, formatEventPosition, parseEventPosition } from '../../src/api/event-frames.js';

describe('a server-sent event', () => {
  it('has an id with the epoch and the number', () => {
    const position = { epoch: 'some-epoch', number: 17 };
    expect(formatEventFrame({ position, event: 'put', data: '{}' })).toBe(
      'id: some-epoch-17\nevent: put\ndata: {}\n\n',
    );
    expect(formatEventFrame({ event: 'put', data: '{}' })).toBe('event: put\ndata: {}\n\n');
  });

  it.each([
    ['e-0', { epoch: 'e', number: 0 }],
    ['a-b-17', { epoch: 'a-b', number: 17 }],
  ])('has the id %s, which is parsed', (text, position) => {
    expect(parseEventPosition(text)).toEqual(position);
    expect(formatEventPosition(position)).toBe(text);
  });

  it.each([undefined, '', '17', '-17', 'e-', 'e-x', 'e--', `e-${'1'.repeat(16)}`, `${'e'.repeat(65)}-1`, 'e\n-1'])(
    'does not have the id %j',
    (text) => {
      expect(parseEventPosition(text)).toBeUndefined();
    },
  );
});
