import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameDecoder } from '../../src/worker/frame-decoder.js';

function frame(contents: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(contents.length, 1);
  return Buffer.concat([head, contents]);
}

function decoder(options: Partial<ConstructorParameters<typeof FrameDecoder>[0]> = {}) {
  const held: number[] = [];
  const made = new FrameDecoder({
    maxMessageBytes: 1024 * 1024,
    maxMessagesPerFrame: 10,
    onAllocate: (bytes) => void held.push(bytes),
    onComplete: () => {},
    ...options,
  });
  return { made, held };
}

describe('a frame decoder', () => {
  it('finds the same messages however they are cut', () => {
    const messages = fc.array(fc.tuple(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(0, 1)), { maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (sent, cuts) => {
        const { made } = decoder();
        const frames = sent.map(([contents, flag]) => frame(contents, flag));
        const bytes = Buffer.concat(frames);
        const found: Buffer[] = [];
        for (let at = 0, n = 0; at < bytes.length; n++) {
          const end = at + (cuts[n % cuts.length] as number);
          found.push(...made.write(bytes.subarray(at, end)));
          at = end;
        }
        expect(found).toEqual(frames);
        expect(made.isPartial).toBe(false);
      }),
    );
  });

  it('holds no more than four times what has arrived, or 64 KiB', () => {
    const { made, held } = decoder({ maxMessageBytes: 64 * 1024 * 1024 });
    const bytes = frame(Buffer.alloc(8 * 1024 * 1024));
    for (let at = 0; at < bytes.length - 1; at += 10_000) {
      made.write(bytes.subarray(at, Math.min(bytes.length - 1, at + 10_000)));
      expect(held.at(-1)).toBeLessThanOrEqual(Math.max(64 * 1024, 4 * (at + 10_000)));
    }
    const [message] = made.write(bytes.subarray(-1));
    expect(message?.equals(bytes)).toBe(true);
    expect(held.at(-1)).toBe(bytes.length);
  });

  it('keeps nothing of the buffer in which bytes arrived', () => {
    const arrived = frame(Buffer.of(1, 2, 3));
    const [message] = decoder().made.write(arrived);
    arrived.fill(9);
    expect(message?.subarray(5)).toEqual(Buffer.of(1, 2, 3));
  });

  it('refuses a message by its announced length, and many at once', () => {
    const { made, held } = decoder({ maxMessageBytes: 100 });
    expect(() => made.write(frame(Buffer.alloc(101)).subarray(0, 5))).toThrow('larger than max (101 vs 100)');
    expect(held).toEqual([]);
    const empty = Buffer.concat(Array.from({ length: 11 }, () => frame(Buffer.alloc(0))));
    expect(() => decoder().made.write(empty)).toThrow('too many messages');
  });

  it('takes nothing more when there is no room', () => {
    const { made } = decoder({
      onAllocate: () => {
        throw new Error('no room');
      },
    });
    expect(() => made.write(frame(Buffer.of(1)))).toThrow('no room');
  });
});
