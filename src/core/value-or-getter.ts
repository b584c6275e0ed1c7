/** A value, or for one that may change while we run a function that gives the present one. */
export type ValueOrGetter<T> = T | (() => T);

/** Such a value as a function in either case; undefined when there is none. */
export function toGetter<T extends object | string>(value: ValueOrGetter<T> | undefined): (() => T) | undefined {
  if (value === undefined || typeof value === 'function') return value as (() => T) | undefined;
  return () => value;
}
