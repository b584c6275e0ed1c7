import type { Script } from 'node:vm';

/** Keeps the code that V8 made of the bundle's files in the user's cache folder, one file for each command. */
export class CodeCache {
  /** `version` names the content of the bundle, `command` the file: letters, digits and dashes. */
  constructor(env: Readonly<Record<string, string | undefined>>, version: string, command: string);
  /** Returns the code of a file of the bundle; undefined when there is none. */
  codeOf(name: string): Buffer | undefined;
  /** Keeps the code of scripts by name, unless V8 took all of it from the cache. */
  save(scripts: ReadonlyMap<string, Script>): void;
}
