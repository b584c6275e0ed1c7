'use strict';

/**
 * Caches the compiled code of the bundle in the user's cache folder, in one file per command. V8 executes this code without
 * checking it against the source, so only files that no other user can have written are used. After any error, the command
 * runs without the cache. See docs/decisions/0016-the-bundle.md for reasons and measurements.
 */

const fs = require('node:fs');
const { join } = require('node:path');

const { O_RDONLY, O_NOFOLLOW } = fs.constants;

/** Maximum size of a cache file, in bytes. The code of the complete bundle takes about 1 MB. */
const MAX_CACHE_FILE_BYTES = 16 * 1024 * 1024;

/** Maximum number of versions of the program and of Node.js whose code is cached. */
const MAX_CACHED_VERSIONS = 4;

/** Name of the folder of a version: `v20.19.0-linux-x64-0f3c...`. */
const VERSION_FOLDER = /^v\d+\.\d+\.\d+\S*-\w+-\w+-\w/;

/** Minimum age, in ms, at which code that V8 rejects is replaced. V8 rejects code from other CPUs or flags. */
const REPLACE_REJECTED_AFTER_MS = 60 * 60 * 1000;

/** Age, in ms, at which a temporary file counts as abandoned by a killed process. */
const ABANDONED_AFTER_MS = 60 * 1000;

/** Returns the user's cache folder by the XDG specification. Undefined when there is none or the cache is off. */
function findCacheHome(env) {
  // Without user ids, as on Windows, the owner of a file can't be checked.
  if (env.ANYSERVE_CODE_CACHE === '0' || process.geteuid === undefined) return undefined;
  if (env.XDG_CACHE_HOME?.startsWith('/')) return env.XDG_CACHE_HOME;
  return env.HOME?.startsWith('/') ? join(env.HOME, '.cache') : undefined;
}

/** Throws unless a file belongs to this user and no other user can write to it. */
function assertOnlyOwnerWrites(stat) {
  if (stat.uid !== process.geteuid() || (stat.mode & 0o022) !== 0) throw new Error('other users can write to it');
}

/** Throws unless a path is a folder, not a link, and no other user can write to it. */
function assertSafeFolder(folder) {
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory()) throw new Error('not a folder');
  assertOnlyOwnerWrites(stat);
}

class CodeCache {
  #home;
  #folder;
  #version;
  #path;
  #codes = new Map();
  #savedAtMs = 0;

  /** `version` identifies the content of the bundle. `command` names the cache file: letters, digits and dashes. */
  constructor(env, version, command) {
    this.#home = findCacheHome(env);
    if (this.#home === undefined) return;
    this.#folder = join(this.#home, 'anyserve');
    this.#version = join(this.#folder, `${process.version}-${process.platform}-${process.arch}-${version}`);
    this.#path = join(this.#version, command);
    try {
      this.#read();
    } catch {
      this.#codes.clear();
    }
  }

  /** Returns the cached code of a file of the bundle. Undefined when there is none. */
  getCode(name) {
    return this.#codes.get(name);
  }

  /** Saves the code of scripts by name, unless V8 has accepted all of it from the cache. */
  save(scripts) {
    const isAccepted = ([, script]) => script.cachedDataRejected === false;
    if (this.#path === undefined || [...scripts].every(isAccepted)) return;
    const isRejected = [...scripts].some(([, script]) => script.cachedDataRejected === true);
    if (isRejected && Date.now() - this.#savedAtMs < REPLACE_REJECTED_AFTER_MS) return;
    try {
      this.#write(scripts, isRejected ? new Map() : this.#codes);
    } catch {
      // The folder is missing or read-only, or the disk is full. The next run compiles again.
    }
  }

  /** Reads the cache file: a line of JSON with names and sizes, then the code of each file. */
  #read() {
    const folders = [this.#home, this.#folder, this.#version];
    for (const folder of folders) assertSafeFolder(folder);
    const file = fs.openSync(this.#path, O_RDONLY | O_NOFOLLOW);
    try {
      const stat = fs.fstatSync(file);
      assertOnlyOwnerWrites(stat);
      // A hard link could be in another user's folder.
      if (!stat.isFile() || stat.nlink !== 1 || stat.size > MAX_CACHE_FILE_BYTES)
        throw new Error('not a file of this cache');
      const content = fs.readFileSync(file);
      const headEnd = content.indexOf('\n') + 1;
      const sizes = JSON.parse(content.toString('utf8', 0, headEnd));
      let offset = headEnd;
      for (const [name, size] of sizes) {
        this.#codes.set(name, content.subarray(offset, offset + size));
        offset += size;
      }
      if (offset !== content.length) throw new Error('incomplete');
      this.#savedAtMs = stat.mtimeMs;
    } finally {
      fs.closeSync(file);
    }
  }

  #write(scripts, cachedCodes) {
    for (const folder of [this.#home, this.#folder, this.#version]) {
      // Not `recursive`: it loops forever below a folder that rejects new folders with ENOENT, such as /proc.
      if (!fs.existsSync(folder)) fs.mkdirSync(folder, { mode: 0o700 });
      assertSafeFolder(folder);
    }
    const temporary = `${this.#path}.new`;
    const file = createExclusively(temporary);
    try {
      const codes = new Map(cachedCodes);
      for (const [name, script] of scripts) codes.set(name, script.createCachedData());
      const sizes = [...codes].map(([name, code]) => [name, code.length]);
      fs.writeFileSync(file, Buffer.concat([Buffer.from(`${JSON.stringify(sizes)}\n`), ...codes.values()]));
      // Synced before the rename, so that a crash of the machine leaves a complete file or none.
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

/** Creates a file for writing. Throws while another process writes it. */
function createExclusively(path) {
  const existing = fs.lstatSync(path, { throwIfNoEntry: false });
  if (existing && Date.now() - existing.mtimeMs > ABANDONED_AFTER_MS) fs.rmSync(path, { force: true });
  return fs.openSync(path, 'wx', 0o600);
}

/** Removes the folders of all but the most recently used versions. Leaves everything else in the folder alone. */
function removeOldVersions(folder) {
  const versions = fs
    .readdirSync(folder)
    .filter((name) => VERSION_FOLDER.test(name))
    .map((name) => join(folder, name))
    .map((path) => ({ path, changedAtMs: fs.lstatSync(path).mtimeMs }));
  versions.sort((a, b) => b.changedAtMs - a.changedAtMs);
  for (const { path } of versions.slice(MAX_CACHED_VERSIONS)) fs.rmSync(path, { recursive: true, force: true });
}

module.exports = { CodeCache };
