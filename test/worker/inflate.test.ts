import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { InflateLimitError, inflateSmallMessage, inflateWithinBudget } from '../../src/worker/inflate.js';
import { MemoryBudget } from '../../src/worker/memory-budget.js';

const MIB = 1024 * 1024;
const CODECS = [
  ['gzip', gzipSync],
  ['deflate', deflateSync],
] as const;

describe.each(CODECS)('inflating %s', (encoding, compress) => {
  it.each([0, 1, 4096, 20_000, MIB])('returns %d bytes, and reserves as many', async (length) => {
    const budget = new MemoryBudget(4 * MIB);
    const contents = Buffer.from(Array.from({ length }, (_, at) => at % 7));
    const { inflated, reservation } = await inflateWithinBudget(compress(contents), encoding, MIB, budget);
    expect(inflated.equals(contents)).toBe(true);
    expect(budget.freeBytes).toBe(4 * MIB - length);
    reservation.release();
    expect(budget.freeBytes).toBe(4 * MIB);
  });

  it('stops one byte after the limit, and then holds nothing', async () => {
    for (const limit of [4096, 20_000, MIB]) {
      const budget = new MemoryBudget(4 * MIB);
      const bomb = compress(Buffer.alloc(limit + 1));
      await expect(inflateWithinBudget(bomb, encoding, limit, budget)).rejects.toThrow(InflateLimitError);
      expect(() => inflateSmallMessage(bomb, encoding, limit)).toThrow(InflateLimitError);
      expect(budget.freeBytes).toBe(4 * MIB);
    }
  });

  it('rejects the data at once when there is no room', async () => {
    const budget = new MemoryBudget(2 * MIB);
    const other = budget.reserve(2 * MIB - 1000);
    const large = inflateWithinBudget(compress(Buffer.alloc(MIB)), encoding, MIB, budget);
    await expect(large).rejects.toMatchObject({ code: 'resource_exhausted' });
    other.release();
    expect(budget.freeBytes).toBe(2 * MIB);
  });

  it('reports bytes that are not in the encoding', async () => {
    const budget = new MemoryBudget(4 * MIB);
    for (const bytes of [Buffer.from('nothing of the kind'), Buffer.alloc(100_000, 7)]) {
      const error = await inflateWithinBudget(bytes, encoding, MIB, budget).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Error);
      expect(error).not.toBeInstanceOf(InflateLimitError);
    }
    expect(budget.freeBytes).toBe(4 * MIB);
  });
});

it('gzip with several members is inflated completely, and a wrong length in its trailer is ignored', async () => {
  const budget = new MemoryBudget(8 * MIB);
  const [one, two] = [Buffer.alloc(300_000, 1), Buffer.alloc(100_000, 2)];
  const members = Buffer.concat([gzipSync(one), gzipSync(two)]);
  const { inflated, reservation } = await inflateWithinBudget(members, 'gzip', 2 * MIB, budget);
  expect(inflated.equals(Buffer.concat([one, two]))).toBe(true);
  reservation.release();
  const lying = gzipSync(Buffer.alloc(3 * MIB));
  lying.writeUInt32LE(10, lying.length - 4);
  await expect(inflateWithinBudget(lying, 'gzip', 2 * MIB, budget)).rejects.toThrow(InflateLimitError);
  expect(budget.freeBytes).toBe(8 * MIB);
});
