/**
 * What yargs asks of the platform that it runs on, in place of its own for Node, which reads its messages from a file,
 * measures widths with a segmenter of Intl, and has what we do not use: configuration files and folders of commands.
 */
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { format, inspect } from 'node:util';
import cliui from 'cliui';
import stringWidth from 'string-width';
import Parser from 'yargs-parser';

const unused = () => {
  throw new Error('the command line does not use this of yargs');
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
