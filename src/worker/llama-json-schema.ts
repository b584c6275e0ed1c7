import type { GbnfJsonBasicSchema } from 'node-llama-cpp';
import { quote } from '../core/quoting.js';

/** A JSON Schema that can't be converted. The message says which part, and why. */
export class UnsupportedSchemaError extends Error {
  override readonly name = 'UnsupportedSchemaError';
}

/** Keywords that describe and don't constrain. */
const ANNOTATIONS = ['title', 'description', 'default', 'examples', '$comment', '$schema', '$id', 'deprecated'];

/** Keywords that the grammar enforces, by type. */
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'format'],
  number: [],
  integer: [],
  boolean: [],
  null: [],
};

/** Formats of strings that the grammar enforces. */
const FORMATS: readonly unknown[] = ['date-time', 'time', 'date'];

/** Maximum length of a string or an array in a schema. llama.cpp writes a repetition out as often as it can occur. */
const MAX_REPETITIONS = 1000;

/** Maximum depth of a schema. */
const MAX_DEPTH = 32;

type Schema = Readonly<Record<string, unknown>>;

/** Where a schema is, for messages, and the names of the definitions. */
interface Place {
  readonly path: string;
  readonly depth: number;
  readonly definitions: ReadonlySet<string>;
}

/**
 * Converts a JSON Schema to one that node-llama-cpp makes a grammar of. Its grammars ignore the keywords that they don't know, so
 * a schema with such a keyword is refused: the text would not be valid. Objects have all their properties, in the order of the schema.
 * The result can be of any type; the declared one is the simplest for the compiler, which infers the type of the texts from it. Throws {@link UnsupportedSchemaError}.
 */
export function toGrammarSchema(root: unknown): GbnfJsonBasicSchema {
  const { $defs = {}, definitions = {}, ...schema } = requireObject(root, 'the schema');
  const definitionEntries = Object.entries({
    ...requireObject(definitions, 'definitions'),
    ...requireObject($defs, '$defs'),
  });
  const names = new Set(definitionEntries.map(([name]) => name));
  const place = (path: string): Place => ({ path, depth: 0, definitions: names });
  const converted = convert(schema, place('the schema'));
  if (names.size === 0) return converted as unknown as GbnfJsonBasicSchema;
  const convertedDefinitions = definitionEntries.map(([name, definition]) => [
    name,
    convert(definition, place(`$defs.${name}`)),
  ]);
  return { ...converted, $defs: Object.fromEntries(convertedDefinitions) } as unknown as GbnfJsonBasicSchema;
}

function convert(value: unknown, place: Place): Schema {
  const { path, depth, definitions } = place;
  if (depth > MAX_DEPTH) throw new UnsupportedSchemaError(`${path} is nested more than ${MAX_DEPTH} deep`);
  const schema = requireObject(value, path);
  const { $ref, anyOf, oneOf = anyOf } = schema;
  if (schema['$ref'] !== undefined) {
    checkKeywords(schema, ['$ref'], path);
    const name = /^#\/(?:\$defs|definitions)\/([^/~%]+)$/.exec(String($ref))?.[1];
    if (name === undefined || !definitions.has(name)) {
      throw new UnsupportedSchemaError(
        `${path} refers to ${quote(String($ref))}, which is not a definition of the schema`,
      );
    }
    return { $ref: `#/$defs/${name}` };
  }
  if (oneOf !== undefined) {
    checkKeywords(schema, [schema['oneOf'] === undefined ? 'anyOf' : 'oneOf'], path);
    return { oneOf: requireList(oneOf, path).map((item, index) => convert(item, enter(place, `[${index}]`))) };
  }
  for (const keyword of ['const', 'enum'])
    if (schema[keyword] !== undefined) return convertValues(schema, keyword, path);
  return convertTyped(schema, place);
}

function convertValues(schema: Schema, keyword: string, path: string): Schema {
  checkKeywords(schema, [keyword, 'type'], path);
  const values = keyword === 'const' ? [schema['const']] : requireList(schema['enum'], path);
  if (values.some((value) => typeof value === 'object' && value !== null))
    throw new UnsupportedSchemaError(`${path} has a list or an object in "${keyword}"`);
  return { enum: values };
}

function convertTyped(schema: Schema, place: Place): Schema {
  const { path } = place;
  const { type = inferType(schema) } = schema;
  if (Array.isArray(type))
    return { oneOf: type.map((single) => convertTyped(pickKeywords(schema, type, single), place)) };
  const keywords = KEYWORDS[String(type)];
  if (!keywords || !Object.hasOwn(KEYWORDS, String(type)))
    throw new UnsupportedSchemaError(`${path} has no type, or one that is unknown: ${JSON.stringify(type)}`);
  checkKeywords(schema, ['type', ...keywords], path);
  if (type === 'object') return convertObject(schema, place);
  if (type === 'array') return convertArray(schema, place);
  return type === 'string' ? convertString(schema, path) : { type };
}

/** Returns the schema of one of several types, without the keywords of the others. */
function pickKeywords(schema: Schema, types: readonly unknown[], type: unknown): Schema {
  const others = types.filter((other) => other !== type).flatMap((other) => KEYWORDS[String(other)] ?? []);
  return { ...Object.fromEntries(Object.entries(schema).filter(([key]) => !others.includes(key))), type };
}

function inferType({ properties, items, prefixItems }: Schema): string | undefined {
  if (properties !== undefined) return 'object';
  return items !== undefined || prefixItems !== undefined ? 'array' : undefined;
}

function convertObject(schema: Schema, place: Place): Schema {
  const properties = Object.entries(requireObject(schema['properties'] ?? {}, `${place.path}.properties`));
  const names = properties.map(([name]) => name);
  const missing = requireList(schema['required'] ?? [], place.path).find((name) => !names.includes(String(name)));
  if (missing !== undefined)
    throw new UnsupportedSchemaError(
      `${place.path} requires ${quote(String(missing))}, which is not in its properties`,
    );
  const { additionalProperties } = schema;
  const isOpen = additionalProperties === true || (additionalProperties === undefined && properties.length === 0);
  return {
    type: 'object',
    properties: Object.fromEntries(properties.map(([name, value]) => [name, convert(value, enter(place, `.${name}`))])),
    additionalProperties:
      typeof additionalProperties === 'object'
        ? convert(additionalProperties, enter(place, '.additionalProperties'))
        : isOpen,
  };
}

function convertArray(schema: Schema, place: Place): Schema {
  const { items, prefixItems } = schema;
  return {
    type: 'array',
    ...pickLengths(schema, ['minItems', 'maxItems'], place.path),
    ...(items !== undefined && items !== true && { items: convert(items, enter(place, '.items')) }),
    ...(prefixItems !== undefined && {
      prefixItems: requireList(prefixItems, place.path).map((item, index) => convert(item, enter(place, `[${index}]`))),
    }),
  };
}

function convertString(schema: Schema, path: string): Schema {
  const lengths = pickLengths(schema, ['minLength', 'maxLength'], path);
  const { format } = schema;
  if (format === undefined) return { type: 'string', ...lengths };
  if (FORMATS.includes(format) && Object.keys(lengths).length === 0) return { type: 'string', format };
  throw new UnsupportedSchemaError(
    `${path} has the format ${JSON.stringify(format)}; supported: ${FORMATS.join(', ')}`,
  );
}

function pickLengths(schema: Schema, [min, max]: readonly [string, string], path: string): Schema {
  for (const keyword of [min, max]) {
    const value = schema[keyword];
    const isValid = Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_REPETITIONS;
    if (value !== undefined && !isValid)
      throw new UnsupportedSchemaError(`${path}: "${keyword}" is not an integer from 0 to ${MAX_REPETITIONS}`);
  }
  if (Number(schema[min] ?? 0) > Number(schema[max] ?? MAX_REPETITIONS))
    throw new UnsupportedSchemaError(`${path}: "${min}" is greater than "${max}"`);
  return Object.fromEntries([min, max].flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]])));
}

function checkKeywords(schema: Schema, known: readonly string[], path: string): void {
  const unknown = Object.keys(schema).find((key) => !known.includes(key) && !ANNOTATIONS.includes(key));
  if (unknown !== undefined) throw new UnsupportedSchemaError(`${path} has ${quote(unknown)}`);
}

function enter({ path, depth, definitions }: Place, part: string): Place {
  return { path: path + part, depth: depth + 1, definitions };
}

function requireObject(value: unknown, path: string): Schema {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Schema;
  throw new UnsupportedSchemaError(`${path} is not an object`);
}

function requireList(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new UnsupportedSchemaError(`${path} has a value that is not a list`);
}
