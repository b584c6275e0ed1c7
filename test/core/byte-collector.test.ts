import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteCollector, decodeUtf8 } from '../../src/core/byte-collector.js';

it('concatenates chunks of any length in order', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 20 }), (chunks) => {
      const collector = new ByteCollector();
      for (const chunk of chunks) collector.add(chunk);
      const expected = Buffer.concat(chunks);
      expect(Buffer.from(collector.bytes).equals(expected)).toBe(true);
      expect(collector.length).toBe(expected.length);
    }),
  );
});

it('does not modify the first chunk when others follow', () => {
  const first = Uint8Array.of(1, 2);
  const collector = new ByteCollector();
  collector.add(first);
  collector.add(Uint8Array.of(3));
  expect([...first, ...collector.bytes]).toEqual([1, 2, 1, 2, 3]);
});

it('decodes UTF-8 as Node.js does', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(decodeUtf8(bytes)).toBe(Buffer.from(bytes).toString('utf8'));
    }),
  );
});
