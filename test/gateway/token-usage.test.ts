import { describe, expect, it } from 'vitest';
import { BodyTail, findTokenUsage } from '../../src/gateway/token-usage.js';

const find = (...texts: string[]) => findTokenUsage(texts.map((text) => Buffer.from(text)));

describe('findTokenUsage', () => {
  it.each([
    ['of a chat completion', '{"choices":[],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}'],
    ['with white space', '{"usage":{ "prompt_tokens" :\n\t5 ,"completion_tokens"\r:2\n}}'],
    ['with zeros', '{"usage":{"prompt_tokens":5,"completion_tokens":2,"n":[0]}}'],
    [
      'with details',
      '{"usage" : {"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens":2}}',
    ],
    ['of a response', '{"usage":{"input_tokens":5,"input_tokens_details":{},"output_tokens":2},"user":null}'],
    [
      'in the last event',
      'data: {"n":1}\n\ndata: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
    ],
    [
      'that counts up',
      'data: {"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\ndata: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    ],
  ])('finds the usage %s', (_where, text) => {
    expect(find(text)).toEqual({ input: 5, output: 2 });
    for (let cut = 1; cut < text.length; cut++)
      expect(find(text.slice(0, cut), text.slice(cut))).toEqual({ input: 5, output: 2 });
  });

  it('counts no output of an embedding', () => {
    expect(find('{"usage":{"prompt_tokens":5,"total_tokens":5}}')).toEqual({ input: 5, output: 0 });
  });

  it.each([
    ['nothing', ''],
    ['no usage', '{"usage":null}'],
    ['text of the model', JSON.stringify({ content: '"usage":{"prompt_tokens":5,"completion_tokens":2}' })],
    ['a text as a number', '{"usage":{"prompt_tokens":"5","completion_tokens":2}}'],
    ['a negative number', '{"usage":{"prompt_tokens":-5,"completion_tokens":2}}'],
    ['a fraction', '{"usage":{"prompt_tokens":0.5,"completion_tokens":2}}'],
    ['a huge number', '{"usage":{"prompt_tokens":1e300,"completion_tokens":2}}'],
    ['an object that is cut off', '{"usage":{"prompt_tokens":5,'],
    ['other members', '{"usage":{"seconds":5}}'],
    ['a number that is cut off', '{"usage":{"prompt_tokens":5'],
    ['more digits than a count has', '{"usage":{"prompt_tokens":1234567890123456}}'],
    ['null', '{"usage":{"prompt_tokens":null,"input_tokens":5}}'],
    ['a name without a value', '{"usage":{"prompt_tokens"}}'],
    ['braces without end', `{"usage":{${'{'.repeat(3000)}`],
  ])('finds none in %s', (_what, text) => {
    expect(find(text)).toBeUndefined();
  });

  it('reads only the first and the last 2 KiB', () => {
    const usage = '{"usage":{"prompt_tokens":5,"completion_tokens":2}';
    const [near, far] = [' '.repeat(1900), ' '.repeat(2100)];
    for (const text of [usage + near, near + usage, far + usage, usage + far]) expect(find(text)).toBeDefined();
    expect(find(far + usage + far)).toBeUndefined();
  });
});

describe('BodyTail', () => {
  const read = (tail: BodyTail): string => Buffer.concat(tail.pieces).toString('latin1');

  it.each([1, 7, 100, 2047, 2048, 2049, 5000, 65_536])('keeps the end of a body in pieces of %s bytes', (size) => {
    const tail = new BodyTail();
    let body = '';
    for (let n = 0; n < 10_000 / size + 3; n++) {
      const piece = String.fromCharCode(97 + (n % 26)).repeat(size);
      body += piece;
      tail.add(Buffer.from(piece));
      const kept = read(tail);
      expect(kept.length).toBeGreaterThanOrEqual(Math.min(body.length, 2048));
      expect(kept.length).toBeLessThanOrEqual(4096);
      expect(body.endsWith(kept)).toBe(true);
    }
  });

  it('does not keep the memory of the pieces', () => {
    const tail = new BodyTail();
    const piece = Buffer.alloc(100, 'a');
    tail.add(piece);
    piece.fill('b');
    expect(read(tail)).toBe('a'.repeat(100));
  });
});
