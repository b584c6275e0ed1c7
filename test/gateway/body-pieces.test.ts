import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyReader, replaceBytes } from '../../src/gateway/body-pieces.js';
import { cutBytes, generatedCuts } from '../support/engine-responses.js';

/** Bytes with few values, so that short patterns occur in them. */
const generatedBody = fc.uint8Array({ maxLength: 60, max: 2 });

describe('a body in pieces', () => {
  it('is read like a body in one piece', () => {
    const pattern = fc.uint8Array({ minLength: 1, maxLength: 5, max: 2 });
    fc.assert(
      fc.property(
        generatedBody,
        generatedCuts,
        pattern,
        fc.nat({ max: 60 }),
        fc.nat({ max: 70 }),
        (bytes, cuts, found, a, b) => {
          const body = Buffer.from(bytes);
          const reader = new BodyReader(cutBytes(body, cuts));
          expect(reader.length).toBe(body.length);
          expect(reader.slice(a, b)).toEqual(body.subarray(a, Math.max(a, b)));
          if (a < body.length) expect(reader.indexOf(Buffer.from(found), a)).toBe(body.indexOf(found, a));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('is not copied where one piece has the bytes', () => {
    const pieces = [Buffer.from('abc'), Buffer.from('def')];
    expect(new BodyReader(pieces).slice(3, 5).buffer).toBe(pieces[1]?.buffer);
  });

  it('is the only difference, however the body is cut', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1 }),
        generatedCuts,
        fc.nat(),
        fc.nat(),
        fc.uint8Array(),
        (body, cuts, a, b, bytes) => {
          const [start, end] = [a % (body.length + 1), b % (body.length + 1)].sort((x, y) => x - y) as [number, number];
          const replaced = Buffer.concat(replaceBytes(cutBytes(body, cuts), { start, end }, Buffer.from(bytes)));
          expect(replaced).toEqual(Buffer.concat([body.subarray(0, start), bytes, body.subarray(end)]));
        },
      ),
      { numRuns: 1000 },
    );
  });
});
