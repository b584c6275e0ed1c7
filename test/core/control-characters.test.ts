import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createEscapingLog,
  escapeControls,
  escapeControlsInLines,
  escapeControlsInProse,
} from '../../src/core/control-characters.js';

/** Characters that must never reach a terminal or a log, by name. */
const ACTIVE: readonly (readonly [name: string, text: string, shown: string])[] = [
  ['NUL', '\0', '\\u0000'],
  ['escape', '\u001b[31m', '\\u001b[31m'],
  ['carriage return', '\r', '\\u000d'],
  ['backspace', '\b', '\\u0008'],
  ['DEL', '\u007f', '\\u007f'],
  ['C1 start', '\u0080', '\\u0080'],
  ['CSI in one character', '\u009b31m', '\\u009b31m'],
  ['OSC in one character', '\u009d0;title\u009c', '\\u009d0;title\\u009c'],
  ['C1 end', '\u009f', '\\u009f'],
  ['line separator', '\u2028', '\\u2028'],
  ['paragraph separator', '\u2029', '\\u2029'],
  ['right-to-left override', '\u202etxt', '\\u202etxt'],
  ['isolate', '\u2066a\u2069', '\\u2066a\\u2069'],
  ['first half of a pair', '\ud800', '\\ud800'],
  ['second half of a pair', '\udc00x', '\\udc00x'],
  ['halves the wrong way round', '\ude00\ud83d', '\\ude00\\ud83d'],
];

describe('escaping of untrusted text', () => {
  it.each(ACTIVE)('escapes: %s', (_name, text, shown) => {
    expect(escapeControls(`a${text}b`)).toBe(`a${shown}b`);
    expect(escapeControlsInProse(`a${text}b`)).toBe(`a${shown}b`);
  });

  it.each([
    ['\u061c', '\\u061c'],
    ['\u200e\u200f', '\\u200e\\u200f'],
    ['\u200b\ufeff\u2060', '\\u200b\\ufeff\\u2060'],
    ['\n\t', '\\u000a\\u0009'],
  ])('has %j escaped in a line, and kept in prose', (text, shown) => {
    expect(escapeControls(text)).toBe(shown);
    expect(escapeControlsInProse(text)).toBe(text);
  });

  it.each(['größe', '日本語', '👩‍👩‍👧 family', 'नमस्ते', 'שלום', '\\u001b', ' '])('keeps harmless text: %s', (text) => {
    expect(escapeControls(text)).toBe(text);
  });

  it('keeps the meaning of JSON, and is idempotent', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const shown = escapeControls(JSON.stringify({ text }));
        expect(JSON.parse(shown)).toEqual({ text });
        expect(escapeControls(shown)).toBe(shown);
        expect(escapeControls(text)).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Cs}\u2028\u2029]/u);
      }),
    );
  });

  it('keeps the lines of a stack trace', () => {
    expect(escapeControlsInLines('Error: \u001b\n    at \u009bx')).toBe('Error: \\u001b\n    at \\u009bx');
  });

  it('keeps a log message on one line', () => {
    const lines: string[] = [];
    const log = createEscapingLog({ info: (line) => lines.push(line), warn: (line) => lines.push(line) });
    log.info('a\nb');
    log.warn('\u009b2J');
    expect(lines).toEqual(['a\\u000ab', '\\u009b2J']);
  });
});
