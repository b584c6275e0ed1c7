/** A value, or a function that returns the current value if it can change at runtime. */
export type ValueOrGetter<T> = T | (() => T);

/** Converts a value or getter to a getter; undefined stays undefined. */
export function toGetter<T extends object | string>(value: ValueOrGetter<T> | undefined): (() => T) | undefined {
  if (value === undefined || typeof value === 'function') return value as (() => T) | undefined;
  return () => value;
}
