import { describe, expect, it } from 'vitest';
import { formatBashReplacement, parseBashLine } from '../../src/cli/bash-line.js';

describe('parseBashLine', () => {
  it.each<[string, string[]]>([
    ['anyserve ', ['anyserve', '']],
    ['anyserve  route\tx', ['anyserve', 'route', 'x']],
    ['anyserve infer "a b" \'c d\'e', ['anyserve', 'infer', 'a b', 'c de']],
    ['anyserve infer "open and', ['anyserve', 'infer', 'open and']],
    ['anyserve a\\ b "c\\"d" \'e\\', ['anyserve', 'a b', 'c"d', 'e\\']],
    ["anyserve ''", ['anyserve', '']],
    ['anyserve x\\', ['anyserve', 'x']],
    ['', ['']],
  ])('splits %j into the words %j', (line, words) => {
    expect(parseBashLine(line, '=:').words).toEqual(words);
  });

  it.each([
    ['anyserve route mo', 'model=a:b', 'model=a:b'],
    ['anyserve route model=', 'model=a:b', 'a:b'],
    ['anyserve route model=a:', 'model=a:b', 'b'],
    ['anyserve route "model=a:', 'model=a:b', 'model=a:b'],
    ['anyserve route model\\=a', 'model=a:b', 'model=a:b'],
    ['anyserve route x=', 'x=$(rm -rf ~); `y` "z" \\', '\\$\\(rm\\ -rf\\ \\~\\)\\;\\ \\`y\\`\\ \\"z\\"\\ \\\\'],
    ['anyserve route "x=', 'x=$(rm)', undefined],
    ['anyserve route "x=', 'x=a b', 'x=a b'],
    ["anyserve route 'x=", 'x=$(rm)', 'x=$(rm)'],
    ["anyserve route 'x=", "x=it's", undefined],
    ['anyserve route x=', 'x=模型 🦙', '\\模\\型\\ \\🦙'],
  ])('for %j, the completion %j inserts %j', (line, value, replacement) => {
    expect(formatBashReplacement(value, parseBashLine(line, ' \t\n"\'><=;|&(:'))).toBe(replacement);
  });

  it('does not break words at = and : when the user has removed them from COMP_WORDBREAKS', () => {
    expect(formatBashReplacement('model=a:b', parseBashLine('anyserve route model=a:', ' \t\n'))).toBe('model=a:b');
  });
});
