'use strict';

const { readFileSync } = require('node:fs');
const { createRequire, wrap } = require('node:module');
const { basename, join } = require('node:path');
const { Script } = require('node:vm');
const { CodeCache } = require('./code-cache.js');

const BUNDLE = join(__dirname, '../dist/bundle');

/** Loads what the bundle needs and is not in it. */
const requireOther = createRequire(join(BUNDLE, 'main.cjs'));

/** The command of this process, for the name of its cache: each command uses other functions of the same files. */
const command = /^[a-z]{1,20}$/.test(process.argv[2] ?? '') ? process.argv[2] : 'other';

const cache = new CodeCache(process.env, readFileSync(join(BUNDLE, 'content-hash'), 'utf8'), command);

/** The bundle's files that were loaded: their modules and scripts. */
const loaded = new Map();

/** Loads a file of the bundle as `require` would, but has V8 take the code that it made of it before, if it accepts it. */
function load(name) {
  const before = loaded.get(name);
  if (before) return before.module.exports;
  const path = join(BUNDLE, name);
  const script = new Script(wrap(readFileSync(path, 'utf8')), {
    // Kept with the code, and so the same wherever the package is.
    filename: name,
    cachedData: cache.codeOf(name),
  });
  const module = { exports: {} };
  loaded.set(name, { module, script });
  const requireBeside = (other) => (other.startsWith('./') ? load(basename(other)) : requireOther(other));
  script.runInThisContext().call(module.exports, module.exports, requireBeside, module, path, BUNDLE);
  return module.exports;
}

/** Keeps the code of all functions that were called, for the next run of this command. */
function keepCode() {
  cache.save(new Map([...loaded].map(([name, { script }]) => [name, script])));
}

module.exports = { keepCode, load, loaded };
