/**
 * Platform shim for yargs. Its own shim for Node.js reads messages from a file, measures widths with an Intl segmenter, and
 * supports configuration files and command folders, which this command line doesn't use.
 */
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { format, inspect } from 'node:util';
import cliui from 'cliui';
import stringWidth from 'string-width';
import Parser from 'yargs-parser';

const unused = () => {
  throw new Error('the bundled yargs does not support this feature');
};

export default {
  assert: { notStrictEqual: () => {}, strictEqual: () => {} },
  cliui,
  findUp: () => undefined,
  getCallerFile: unused,
  getEnv: (name) => process.env[name],
  getProcessArgvBin: () => '',
  inspect,
  mainFilename: process.cwd(),
  Parser,
  path: { basename, dirname, extname, join, relative, resolve },
  process: {
    argv: () => process.argv,
    cwd: process.cwd,
    emitWarning: (warning, type) => process.emitWarning(warning, type),
    execPath: () => process.execPath,
    exit: unused,
    nextTick: process.nextTick,
    stdColumns: null,
  },
  readFileSync: () => '{}',
  readdirSync: unused,
  require: unused,
  stringWidth,
  y18n: {
    __: format,
    __n: (one, other, count, ...values) => format(count === 1 ? one : other, ...values),
    getLocale: () => 'en',
    setLocale: () => {},
    updateLocale: () => {},
  },
};
