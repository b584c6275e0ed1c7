'use strict';

const { readFileSync } = require('node:fs');
const { createRequire, wrap } = require('node:module');
const { basename, join } = require('node:path');
const { Script } = require('node:vm');

const BUNDLE = join(__dirname, '../dist/bundle');

/** Where the build leaves what V8 made of the bundle's files. It is of use to the very Node that built it. */
const CODE = join(BUNDLE, `${process.version}-${process.platform}-${process.arch}`);

/** Loads what the bundle needs and is not in it. */
const requireOther = createRequire(join(BUNDLE, 'main.cjs'));

/** The bundle's files that were loaded: what they export, and the script for whoever wants to keep what V8 made of it. */
const loaded = new Map();

/**
 * Loads a file of the bundle as `require` would, but has V8 go on from what it made of it before, where that is there and
 * V8 takes it: it refuses what another version or other flags made, and then compiles as always.
 */
function load(name) {
  const before = loaded.get(name);
  if (before) return before.module.exports;
  const path = join(BUNDLE, name);
  const script = new Script(wrap(readFileSync(path, 'utf8')), {
    // Kept with the code, and so the same wherever the package is.
    filename: name,
    cachedData: codeOf(name),
  });
  const module = { exports: {} };
  loaded.set(name, { module, script });
  const requireBeside = (other) => (other.startsWith('./') ? load(basename(other)) : requireOther(other));
  script.runInThisContext().call(module.exports, module.exports, requireBeside, module, path, BUNDLE);
  return module.exports;
}

function codeOf(name) {
  try {
    return readFileSync(join(CODE, name));
  } catch {
    return undefined;
  }
}

module.exports = { CODE, load, loaded };
