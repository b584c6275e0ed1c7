import library from '@grpc/grpc-js/build/src/stream-decoder.js';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { joinSmallFrames } from '../../src/client/small-frames.js';

joinSmallFrames();

/** Messages with their 5-byte heads, one after the other. */
function framed(lengths: readonly number[]): Buffer {
  return Buffer.concat(
    lengths.map((length, at) => {
      const message = Buffer.alloc(5 + length, at + 1);
      message[0] = 0;
      message.writeUInt32BE(length, 1);
      return message;
    }),
  );
}

it('a message in frames of one byte is kept in few pieces', () => {
  const decoder = new library.StreamDecoder(-1) as unknown as {
    readPartialMessage: Buffer[];
    write(data: Buffer): Buffer[];
  };
  const message = framed([60_000]);
  for (let at = 0; at < message.length - 1; at++) decoder.write(message.subarray(at, at + 1));
  expect(decoder.readPartialMessage.length).toBeLessThan(40);
  expect(decoder.write(message.subarray(-1))[0]?.equals(message)).toBe(true);
});

it('messages are whole, in whatever frames they arrive', () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 40_000 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(lengths, fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1 }), (messages, frames) => {
      const decoder = new library.StreamDecoder(-1);
      const sent = framed(messages);
      const received: Buffer[] = [];
      for (let at = 0, n = 0; at < sent.length; n++) {
        const end = at + (frames[n % frames.length] as number);
        received.push(...decoder.write(sent.subarray(at, end)));
        at = end;
      }
      expect(received).toHaveLength(messages.length);
      expect(Buffer.concat(received).equals(sent)).toBe(true);
    }),
  );
});
