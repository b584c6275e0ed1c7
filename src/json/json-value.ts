/** A parsed value. Objects are maps, so that `__proto__` is an ordinary key. */
export type Json = null | boolean | string | JsonNumber | readonly Json[] | JsonObject;

/** An object. Keys are in the order of their first occurrence; the last value of a repeated key wins. */
export type JsonObject = ReadonlyMap<string, Json>;

/** Returns whether a value is an object. */
export function isJsonObject(value: Json): value is JsonObject {
  return value instanceof Map;
}

/** A number, with the string that it was written as. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Serializes a value as compact JSON, with numbers as they were written. */
export function serializeJson(value: Json): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof JsonNumber) return value.text;
  if (isJsonObject(value)) {
    let text = '';
    for (const [key, item] of value) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${serializeJson(item)}`;
    return `{${text}}`;
  }
  if (Array.isArray(value)) return `[${value.map(serializeJson).join(',')}]`;
  return String(value);
}
