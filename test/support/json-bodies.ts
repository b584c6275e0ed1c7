import fc from 'fast-check';

/** Escapes some characters of a JSON string as `\u....`, so that the same text has many spellings. */
function spell(text: string, escaped: readonly boolean[]): string {
  const characters = Array.from(
    JSON.stringify(text)
      .slice(1, -1)
      .matchAll(/\\u....|\\.|[^\\]/gs),
    ([unit]) => unit,
  );
  const spelled = characters.map((unit, index) =>
    escaped[index % (escaped.length + 1)] && unit.length === 1 && unit.charCodeAt(0) < 0xd800
      ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
      : unit,
  );
  return `"${spelled.join('')}"`;
}

const space = fc.constantFrom('', '', '', ' ', '\n', '\t \r\n');

const key = fc.tuple(
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('model', 'stream', 'user', 'messages') },
    fc.constantFrom('Model', 'mode', 'models', 'mödel', '', '"', '\\', 'model"', '__proto__'),
    fc.string({ maxLength: 8 }),
    fc.string({ unit: 'grapheme', maxLength: 300 }),
  ),
  fc.array(fc.boolean(), { maxLength: 6 }),
);

/** JSON texts as values, with spaces between their tokens. */
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('"m"', '"qwen2.5\\u002d72b"', 'true', 'false', 'null', '1', '-0.5e+3') },
  fc.json({ maxDepth: 3 }),
  fc.jsonValue({ maxDepth: 4, stringUnit: 'grapheme' }).map((json) => JSON.stringify(json, null, 1)),
  fc.string({ unit: 'binary', maxLength: 200 }).map((text) => JSON.stringify(text.toWellFormed())),
  fc
    .array(fc.constantFrom('\\', '"', '{', '}', '[', ']', ',', ':', 'model', 'a'.repeat(70)), { maxLength: 40 })
    .map((pieces) => JSON.stringify({ text: pieces.join('') })),
);

/** A JSON object as text, and its members in order, repeated ones included. */
export interface GeneratedObject {
  readonly text: string;
  readonly members: readonly (readonly [name: string, value: unknown])[];
}

/** JSON objects whose names and values have every spelling that JSON allows. */
export const generatedObject: fc.Arbitrary<GeneratedObject> = fc
  .tuple(fc.array(fc.tuple(key, value, space, space), { maxLength: 8 }), space, space)
  .map(([entries, before, after]) => ({
    text: `${before}{${entries
      .map(([[name, escaped], json, left, right]) => `${left}${spell(name, escaped)}${right}:${left}${json}${right}`)
      .join(',')}${before}}${after}`,
    members: entries.map(([[name], json]) => [name, JSON.parse(json)] as const),
  }));
