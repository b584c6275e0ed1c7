import library from '@grpc/grpc-js/build/src/stream-decoder.js';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { joinSmallFrames } from '../../src/client/small-frames.js';

joinSmallFrames();

/** Frames messages as gRPC does: each with a 5-byte prefix. */
function frameMessages(lengths: readonly number[]): Buffer {
  return Buffer.concat(
    lengths.map((length, at) => {
      const message = Buffer.alloc(5 + length, at + 1);
      message[0] = 0;
      message.writeUInt32BE(length, 1);
      return message;
    }),
  );
}

it('a message that arrives in 1-byte frames is kept in a few buffers', () => {
  const decoder = new library.StreamDecoder(-1) as unknown as {
    readPartialMessage: Buffer[];
    write(data: Buffer): Buffer[];
  };
  const message = frameMessages([60_000]);
  for (let at = 0; at < message.length - 1; at++) decoder.write(message.subarray(at, at + 1));
  expect(decoder.readPartialMessage.length).toBeLessThan(40);
  expect(decoder.write(message.subarray(-1))[0]?.equals(message)).toBe(true);
});

it('messages are decoded completely, with any frame sizes', () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 40_000 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(lengths, fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1 }), (messages, frames) => {
      const decoder = new library.StreamDecoder(-1);
      const sent = frameMessages(messages);
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
