/** A capability object with its values as text. */
export type PlainObject = Readonly<Record<string, string>>;

/** A term of a selector, and the plain test of an object for it. */
interface PlainTerm {
  readonly text: string;
  /** Whether an object without the key fails. */
  readonly isPositive: boolean;
  holds(object: PlainObject): boolean;
}

/** A random selector for property tests. */
export interface PlainSelector {
  readonly text: string;
  readonly terms: readonly PlainTerm[];
}

/** Returns a random integer below a bound. */
type Pick = (bound: number) => number;

const KEYS = ['model', 'type', 'gpu', 'size'];
const VALUES: Readonly<Record<string, readonly string[]>> = {
  model: ['m0', 'm1', 'm2', 'meta/llama:8b'],
  type: ['chat', 'embed', ''],
  gpu: ['a100', 'h100'],
  size: ['1', '2', '10', '1e1', '-3', 'large', '10.0'],
};

/** Creates capability objects with few keys and values, so that selectors often match. */
export function drawObjects(pick: Pick): PlainObject[] {
  const drawObject = (): PlainObject =>
    Object.fromEntries(KEYS.filter(() => pick(3) > 0).map((key) => [key, drawValue(pick, key)]));
  return Array.from({ length: [0, 1, 1, 1, 2, 3][pick(6)] as number }, drawObject);
}

/** Creates a query with up to two pairs. */
export function drawPlainQuery(pick: Pick): PlainObject {
  return Object.fromEntries(
    Array.from({ length: [0, 0, 1, 2][pick(4)] as number }, () => {
      const key = KEYS[pick(KEYS.length)] as string;
      return [key, drawValue(pick, key)];
    }),
  );
}

/** Creates a selector with up to four terms. */
export function drawSelector(pick: Pick): PlainSelector {
  const terms = Array.from({ length: [0, 1, 1, 2, 2, 3, 4][pick(7)] as number }, () => drawTerm(pick));
  return { text: terms.map(({ text }) => text).join([',', ', ', ' ,'][pick(3)]), terms };
}

/** Returns whether a replica with these objects matches. It follows the rules in the plainest way. */
export function matchesPlainly(query: PlainObject, { terms }: PlainSelector, objects: readonly PlainObject[]): boolean {
  const hasQuery = (object: PlainObject): boolean =>
    Object.entries(query).every(([key, value]) => Object.hasOwn(object, key) && object[key] === value);
  const satisfiesAll = (object: PlainObject): boolean => terms.every((term) => term.holds(object));
  if (objects.length === 0) return false;
  const isNegativeOnly = Object.keys(query).length === 0 && terms.every((term) => !term.isPositive);
  if (isNegativeOnly && terms.length > 0) return objects.every(satisfiesAll);
  return objects.some((object) => hasQuery(object) && satisfiesAll(object));
}

function drawValue(pick: Pick, key: string): string {
  const values = VALUES[key] as readonly string[];
  return values[pick(values.length)] as string;
}

function drawTerm(pick: Pick): PlainTerm {
  const key = KEYS[pick(KEYS.length)] as string;
  const [value, other] = [drawValue(pick, key), drawValue(pick, key)];
  const quoted = `"${value}"`;
  const set = `(${quoted}, "${other}")`;
  const has = (object: PlainObject): boolean => Object.hasOwn(object, key);
  const positive = (text: string, holds: PlainTerm['holds']): PlainTerm => ({ text, isPositive: true, holds });
  const negative = (text: string, holds: PlainTerm['holds']): PlainTerm => ({ text, isPositive: false, holds });
  switch (pick(7)) {
    case 0:
      return positive(`${key}=${quoted}`, (object) => has(object) && object[key] === value);
    case 1:
      return positive(`${key} in ${set}`, (object) => has(object) && (object[key] === value || object[key] === other));
    case 2:
      return positive(key, has);
    case 3:
      return negative(`${key}!=${quoted}`, (object) => !has(object) || object[key] !== value);
    case 4:
      return negative(`${key} notin ${set}`, (object) => !has(object) || ![value, other].includes(object[key] ?? ''));
    case 5:
      return negative(`!${key}`, (object) => !has(object));
    default:
      return drawComparison(pick, key);
  }
}

function drawComparison(pick: Pick, key: string): PlainTerm {
  const number = [-5, 1, 2, 9.5, 10][pick(5)] as number;
  const [operator, compare] = [
    ['<', (value: number) => value < number],
    ['<=', (value: number) => value <= number],
    ['>', (value: number) => value > number],
    ['>=', (value: number) => value >= number],
  ][pick(4)] as [string, (value: number) => boolean];
  const isNumber = (text: string): boolean => text.trim() !== '' && Number.isFinite(Number(text));
  const holds = (object: PlainObject): boolean => {
    const value = Object.hasOwn(object, key) ? (object[key] ?? '') : '';
    return isNumber(value) && compare(Number(value));
  };
  return { text: `${key}${operator}${number}`, isPositive: true, holds };
}
