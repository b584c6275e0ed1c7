import type { Script } from 'node:vm';

/** Caches the compiled code of the bundle in the user's cache folder, in one file per command. */
export class CodeCache {
  /** `version` identifies the content of the bundle. `command` names the cache file: letters, digits and dashes. */
  constructor(env: Readonly<Record<string, string | undefined>>, version: string, command: string);
  /** Returns the cached code of a file of the bundle. Undefined when there is none. */
  getCode(name: string): Buffer | undefined;
  /** Saves the code of scripts by name, unless V8 has accepted all of it from the cache. */
  save(scripts: ReadonlyMap<string, Script>): void;
}
