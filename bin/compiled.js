'use strict';

const { readFileSync } = require('node:fs');
const { createRequire, wrap } = require('node:module');
const { basename, join } = require('node:path');
const { Script } = require('node:vm');
const { CodeCache } = require('./code-cache.js');

const BUNDLE = join(__dirname, '../dist/bundle');

/** Loads modules that are not part of the bundle. */
const requireExternal = createRequire(join(BUNDLE, 'main.cjs'));

/** Command of this process. Each command has its own cache, because each calls different functions of the same files. */
const command = /^[a-z]{1,20}$/.test(process.argv[2] ?? '') ? process.argv[2] : 'other';

const cache = new CodeCache(process.env, readFileSync(join(BUNDLE, 'content-hash'), 'utf8'), command);

/** Modules and scripts of the bundle's files that are loaded, by file name. */
const loaded = new Map();

/** Loads a file of the bundle as `require` does, but with the code from the cache, if V8 accepts it. */
function load(name) {
  const existing = loaded.get(name);
  if (existing) return existing.module.exports;
  const path = join(BUNDLE, name);
  const script = new Script(wrap(readFileSync(path, 'utf8')), {
    // Part of the cached code, so it must not depend on where the package is installed.
    filename: name,
    cachedData: cache.getCode(name),
  });
  const module = { exports: {} };
  loaded.set(name, { module, script });
  const requireFromBundle = (id) => (id.startsWith('./') ? load(basename(id)) : requireExternal(id));
  script.runInThisContext().call(module.exports, module.exports, requireFromBundle, module, path, BUNDLE);
  return module.exports;
}

/** Saves the code of all functions that were called, for the next run of this command. */
function saveCode() {
  cache.save(new Map([...loaded].map(([name, { script }]) => [name, script])));
}

module.exports = { load, loaded, saveCode };
