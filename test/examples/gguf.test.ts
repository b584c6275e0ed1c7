import { expect, it } from 'vitest';
import { serializeGguf } from '../../examples/llm/gguf.js';
import { decodeFloat16 } from '../../src/inference/float16.js';
import { createSeededRandom } from '../support/seeded-random.js';

it('8-bit weights are as precise as 8 bits allow, whatever their magnitude', () => {
  const random = createSeededRandom(5);
  const sizes = [1000, 1, 0.005, 0];
  const data = Float32Array.from({ length: sizes.length * 32 }, (_, at) => {
    return (random.fraction() * 2 - 1) * (sizes[Math.floor(at / 32)] as number);
  });
  const file = serializeGguf({}, [{ name: 'w', shape: [32, sizes.length], encoding: 'Q8_0', data }]);
  const blocks = file.subarray(96);
  for (const [block, size] of sizes.entries()) {
    const [scale] = decodeFloat16(Uint16Array.of(blocks.readUInt16LE(block * 34)));
    for (let at = 0; at < 32; at++) {
      const read = blocks.readInt8(block * 34 + 2 + at) * (scale as number);
      expect(Math.abs(read - (data[block * 32 + at] as number))).toBeLessThanOrEqual(size * 0.006);
    }
  }
});
