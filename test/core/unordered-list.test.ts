import { describe, expect, it } from 'vitest';
import { type ListElement, UnorderedList } from '../../src/core/unordered-list.js';

interface Letter extends ListElement {
  readonly letter: string;
}

/** Creates a list with an element for each letter. */
function createList(letters: string): { list: UnorderedList<Letter>; elements: ReadonlyMap<string, Letter> } {
  const list = new UnorderedList<Letter>();
  const elements = new Map([...letters].map((letter) => [letter, { letter, position: 0 }]));
  for (const element of elements.values()) list.add(element);
  return { list, elements };
}

function readLetters(list: UnorderedList<Letter>): string {
  return [...list]
    .map(({ letter }) => letter)
    .sort()
    .join('');
}

describe('UnorderedList', () => {
  it.each(['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])('has the elements that remain when %s are deleted', (order) => {
    const { list, elements } = createList('abc');
    let remaining = 'abc';
    for (const letter of order) {
      list.delete(elements.get(letter) as Letter);
      remaining = remaining.replace(letter, '');
      expect(readLetters(list)).toBe(remaining);
      expect(list.size).toBe(remaining.length);
    }
  });

  it('deletes an element once, also when it is deleted again', () => {
    const { list, elements } = createList('abc');
    list.delete(elements.get('a') as Letter);
    list.delete(elements.get('a') as Letter);
    expect(readLetters(list)).toBe('bc');
  });

  it('adds an element again', () => {
    const { list, elements } = createList('abc');
    list.delete(elements.get('a') as Letter);
    list.add(elements.get('a') as Letter);
    expect(readLetters(list)).toBe('abc');
  });

  it('visits each element, also when they are deleted meanwhile', () => {
    const { list } = createList('abc');
    const visited: string[] = [];
    for (const element of list) {
      visited.push(element.letter);
      list.delete(element);
    }
    expect(visited.sort().join('')).toBe('abc');
    expect(list.size).toBe(0);
  });
});
