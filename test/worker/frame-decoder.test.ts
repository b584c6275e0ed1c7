import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameDecoder } from '../../src/worker/frame-decoder.js';

function createFrame(contents: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(contents.length, 1);
  return Buffer.concat([head, contents]);
}

function createDecoder(options: Partial<ConstructorParameters<typeof FrameDecoder>[0]> = {}) {
  const held: number[] = [];
  const decoder = new FrameDecoder({
    maxMessageBytes: 1024 * 1024,
    maxMessagesPerFrame: 10,
    onAllocate: (bytes) => void held.push(bytes),
    onComplete: () => {},
    ...options,
  });
  return { decoder, held };
}

describe('FrameDecoder', () => {
  it('finds the same messages, however the bytes are split', () => {
    const messages = fc.array(fc.tuple(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(0, 1)), { maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (sent, cuts) => {
        const { decoder } = createDecoder();
        const frames = sent.map(([contents, flag]) => createFrame(contents, flag));
        const bytes = Buffer.concat(frames);
        const found: Buffer[] = [];
        for (let at = 0, n = 0; at < bytes.length; n++) {
          const end = at + (cuts[n % cuts.length] as number);
          found.push(...decoder.write(bytes.subarray(at, end)));
          at = end;
        }
        expect(found).toEqual(frames);
        expect(decoder.isPartial).toBe(false);
      }),
    );
  });

  it('buffers at most four times the bytes received, or 64 KiB', () => {
    const { decoder, held } = createDecoder({ maxMessageBytes: 64 * 1024 * 1024 });
    const bytes = createFrame(Buffer.alloc(8 * 1024 * 1024));
    for (let at = 0; at < bytes.length - 1; at += 10_000) {
      decoder.write(bytes.subarray(at, Math.min(bytes.length - 1, at + 10_000)));
      expect(held.at(-1)).toBeLessThanOrEqual(Math.max(64 * 1024, 4 * (at + 10_000)));
    }
    const [message] = decoder.write(bytes.subarray(-1));
    expect(message?.equals(bytes)).toBe(true);
    expect(held.at(-1)).toBe(bytes.length);
  });

  it('keeps no reference to the received buffer', () => {
    const arrived = createFrame(Buffer.of(1, 2, 3));
    const [message] = createDecoder().decoder.write(arrived);
    arrived.fill(9);
    expect(message?.subarray(5)).toEqual(Buffer.of(1, 2, 3));
  });

  it('rejects a message by its announced length, and too many messages in one buffer', () => {
    const { decoder, held } = createDecoder({ maxMessageBytes: 100 });
    expect(() => decoder.write(createFrame(Buffer.alloc(101)).subarray(0, 5))).toThrow('larger than max (101 vs 100)');
    expect(held).toEqual([]);
    const empty = Buffer.concat(Array.from({ length: 11 }, () => createFrame(Buffer.alloc(0))));
    expect(() => createDecoder().decoder.write(empty)).toThrow('too many messages');
  });

  it('stops reading when there is no room', () => {
    const { decoder } = createDecoder({
      onAllocate: () => {
        throw new Error('no room');
      },
    });
    expect(() => decoder.write(createFrame(Buffer.of(1)))).toThrow('no room');
  });
});
