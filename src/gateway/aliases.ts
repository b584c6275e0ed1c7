import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';

/** Other names of models: for each, the models that are tried in turn. */
export type Aliases = ReadonlyMap<string, readonly string[]>;

/** Parses `NAME=MODEL`, repeated for several models of one name. Throws `usage`. */
export function parseAliases(texts: readonly string[]): Aliases {
  const aliases = new Map<string, string[]>();
  for (const text of texts) {
    const at = text.indexOf('=');
    const [name, model] = [text.slice(0, at), text.slice(at + 1)];
    if (at < 1 || model === '')
      throw new AnyserveError('usage', `${quote(text)} is not an alias; give NAME=MODEL, such as gpt-4o=qwen2.5-72b`);
    const models = aliases.get(name);
    if (models) models.push(model);
    else aliases.set(name, [model]);
  }
  return aliases;
}
