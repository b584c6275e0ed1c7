'use strict';

/**
 * Keeps the code that V8 made of the bundle's files in the user's cache folder, one file for each command. V8 executes this
 * code without checking it against its source, so only files that nobody else can have written are used. Whatever
 * goes wrong here, the command runs without the cache. docs/decisions/0016-the-bundle.md has the reasons and figures.
 */

const fs = require('node:fs');
const { join } = require('node:path');

const { O_RDONLY, O_NOFOLLOW } = fs.constants;

/** Maximum size of a cache file, in bytes. All the code of the bundle takes about 1 MB. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Number of versions of the program, or of Node.js, whose code is kept. */
const KEPT_VERSIONS = 4;

/** Code that V8 refuses, because another machine or other flags made it, is replaced only after this time, in ms. */
const REPLACE_REFUSED_AFTER_MS = 60 * 60 * 1000;

/** A temporary file of this age, in ms, was left behind by a process that was killed. */
const ABANDONED_AFTER_MS = 60 * 1000;

/** Returns the user's cache folder by the XDG specification; undefined when there is none or the cache is off. */
function cacheHome(env) {
  // Without user ids, as on Windows, there is no telling whose file it is.
  if (env.ANYSERVE_CODE_CACHE === '0' || process.geteuid === undefined) return undefined;
  if (env.XDG_CACHE_HOME?.startsWith('/')) return env.XDG_CACHE_HOME;
  return env.HOME?.startsWith('/') ? join(env.HOME, '.cache') : undefined;
}

/** Throws unless it belongs to this user and nobody else can write to it. */
function assertOwn(stat) {
  if (stat.uid !== process.geteuid() || (stat.mode & 0o022) !== 0) throw new Error('others can write to it');
}

/** Throws unless the folder is one, no link, and safe from others. */
function assertOwnFolder(folder) {
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory()) throw new Error('not a folder');
  assertOwn(stat);
}

class CodeCache {
  #home;
  #folder;
  #version;
  #path;
  #kept = new Map();
  #keptAtMs = 0;

  /** `version` names the content of the bundle, `command` the file: letters, digits and dashes. */
  constructor(env, version, command) {
    this.#home = cacheHome(env);
    if (this.#home === undefined) return;
    this.#folder = join(this.#home, 'anyserve');
    this.#version = join(this.#folder, `${process.version}-${process.platform}-${process.arch}-${version}`);
    this.#path = join(this.#version, command);
    try {
      this.#read();
    } catch {
      this.#kept.clear();
    }
  }

  /** Returns the code of a file of the bundle; undefined when there is none. */
  codeOf(name) {
    return this.#kept.get(name);
  }

  /** Keeps the code of scripts by name, unless V8 took all of it from the cache. */
  save(scripts) {
    const isKnown = ([, script]) => script.cachedDataRejected === false;
    if (this.#path === undefined || [...scripts].every(isKnown)) return;
    const isRefused = [...scripts].some(([, script]) => script.cachedDataRejected === true);
    if (isRefused && Date.now() - this.#keptAtMs < REPLACE_REFUSED_AFTER_MS) return;
    try {
      this.#write(scripts, isRefused ? new Map() : this.#kept);
    } catch {
      // No home, a read-only one, or no space: the next run compiles again.
    }
  }

  /** A line of JSON with names and sizes, then the code of each. */
  #read() {
    const folders = [this.#home, this.#folder, this.#version];
    for (const folder of folders) assertOwnFolder(folder);
    const file = fs.openSync(this.#path, O_RDONLY | O_NOFOLLOW);
    try {
      const stat = fs.fstatSync(file);
      assertOwn(stat);
      // A second name could be in a folder of somebody else.
      if (!stat.isFile() || stat.nlink !== 1 || stat.size > MAX_BYTES) throw new Error('not a file of this cache');
      const content = fs.readFileSync(file);
      const headEnd = content.indexOf('\n') + 1;
      const sizes = JSON.parse(content.toString('utf8', 0, headEnd));
      let at = headEnd;
      for (const [name, size] of sizes) {
        this.#kept.set(name, content.subarray(at, at + size));
        at += size;
      }
      if (at !== content.length) throw new Error('incomplete');
      this.#keptAtMs = stat.mtimeMs;
    } finally {
      fs.closeSync(file);
    }
  }

  #write(scripts, kept) {
    for (const folder of [this.#home, this.#folder, this.#version]) {
      // Not `recursive`, which never returns below a folder that refuses folders with ENOENT, such as /proc.
      if (!fs.existsSync(folder)) fs.mkdirSync(folder, { mode: 0o700 });
      assertOwnFolder(folder);
    }
    const temporary = `${this.#path}.new`;
    const file = openNew(temporary);
    try {
      const codes = new Map(kept);
      for (const [name, script] of scripts) codes.set(name, script.createCachedData());
      const sizes = [...codes].map(([name, code]) => [name, code.length]);
      fs.writeFileSync(file, Buffer.concat([Buffer.from(`${JSON.stringify(sizes)}\n`), ...codes.values()]));
      // Before the rename, so that a crash of the machine leaves the whole file or none.
      fs.fsyncSync(file);
      fs.renameSync(temporary, this.#path);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    } finally {
      fs.closeSync(file);
    }
    removeOldVersions(this.#folder);
  }
}

/** Opens a file that only one process can write at a time; throws while another does. */
function openNew(path) {
  const before = fs.lstatSync(path, { throwIfNoEntry: false });
  if (before && Date.now() - before.mtimeMs > ABANDONED_AFTER_MS) fs.rmSync(path, { force: true });
  return fs.openSync(path, 'wx', 0o600);
}

function removeOldVersions(folder) {
  const versions = fs
    .readdirSync(folder)
    .map((name) => join(folder, name))
    .map((path) => ({ path, changedAtMs: fs.lstatSync(path).mtimeMs }));
  versions.sort((a, b) => b.changedAtMs - a.changedAtMs);
  for (const { path } of versions.slice(KEPT_VERSIONS)) fs.rmSync(path, { recursive: true, force: true });
}

module.exports = { CodeCache };
